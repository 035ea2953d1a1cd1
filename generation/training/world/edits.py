"""Edits: a picture, what to do with it in words, and the picture that must come out. Also how one asks about a picture.

Neither side of an edit for training is a held-out combination; of one for evaluation, what must come out is.
Must not look at pixels, and uses no word that the vocabulary does not hold, but for "them", which is read as <unk>.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from generation.training.world.captions import (
    GROUND_WORDS,
    LARGE_WORDS,
    RELATION_WORDS,
    SMALL_WORDS,
    colour_word,
    thing,
)
from generation.training.world.nouns import COLOURS
from generation.training.world.scene import RELATIONS, Relation, Scene, Size, Spot
from generation.training.world.split import held_out
from generation.training.world.world import World

EditKind = Literal["replace", "remove", "add", "swap", "move", "ground", "size"]
QUESTIONS = (
    "describe the picture",
    "describe the picture",
    "describe this picture",
    "describe the image",
    "describe this image",
    "describe it",
    "describe",
    "what is in the picture ?",
    "what is in this picture ?",
    "what is in this image",
    "what is this ?",
    "what is there in the picture ?",
    "what are the objects in this picture ?",
)
REPLACE: tuple[str, ...] = (
    "replace {} with {}",
    "change {} to {}",
    "turn {} into {}",
    "exchange {} for {}",
    "swap {} for {}",
)
REPLACE += ("change {} into {}", "replace {} by {}", "make {} {}")
REMOVE = ("remove {}", "delete {}", "erase {}", "take {} away", "take away {}", "no {}")
ADD = ("add {}", "put {}", "place {}", "insert {}")
MOVE = ("move {}", "bring {}", "set {}")
SWAP = ("swap {} and {}", "swap {} with {}", "exchange {} and {}", "exchange {} with {}")
SWAP_BOTH = ("swap them", "swap the objects", "swap the two objects", "exchange the two objects", "swap")
GROUND: tuple[str, ...] = ("make the background {}", "change the background to {}", "set the background to {}")
GROUND += ("paint the background {}", "turn the background {}", "{} background", "change the background colour to {}")
GROUND += ("make the background color {}", "put it on {}", "place it on a {} background")
SIZE = ("make {} {}",)
KEEP = ("keep it", "keep the picture", "keep the same picture", "keep this image", "draw the same picture")
SPOTS: tuple[Spot, ...] = ("left", "right", "top", "bottom")
BIGGER, SMALLER = ("bigger", "larger", *LARGE_WORDS), ("smaller", *SMALL_WORDS)
LONE_SPOT, LONE_SMALL = 0.3, 0.2  # shares of lone objects that are at a spot, or small in the middle
LONE = 0.2  # share of described scenes that edits leave behind: one object, often where one of a pair would stand
PICKED: Mapping[EditKind, float] = {"replace": 1.5, "swap": 2.0}  # these need most
PLAIN = 0.4  # share of instructions in the first wording and in plain names


@dataclass(frozen=True, slots=True)
class Edit:
    """`instruction` turns `source` into `target`."""

    source: Scene
    instruction: str
    target: Scene
    kind: EditKind


def sample_edit(world: World, rng: Random, kind: EditKind | None = None, *, wanted: bool = False) -> Edit:
    """An edit for training; `wanted` asks for one for evaluation, whose target training never saw."""
    while True:
        chosen: EditKind = rng.choices(EDIT_KINDS, WEIGHTS)[0] if kind is None else kind
        source = _source(world, rng, chosen)
        instruction, target = _MAKERS[chosen](world, source, rng)
        if held_out(target) is wanted and (wanted or not held_out(source)):
            return Edit(source, instruction, target, chosen)


def sample_described(world: World, rng: Random) -> Scene:
    """A scene for training to look at, never held out: one to ask for in words, or one that an edit leaves behind."""
    if rng.random() >= LONE:
        return world.sample(rng)
    while held_out(scene := sample_lone(world, rng)):
        pass
    return scene


def sample_lone(world: World, rng: Random) -> Scene:
    """One object, large or small, in the middle or where one of a pair would stand; held out or not."""
    lot = rng.random()
    size: Size = "small" if lot < LONE_SPOT + LONE_SMALL else "large"
    spot = rng.choice(SPOTS) if lot < LONE_SPOT else None
    return Scene(rng.choice(world.names), rng.choice(tuple(COLOURS)), size=size, spot=spot)


def _source(world: World, rng: Random, kind: EditKind) -> Scene:
    pair = kind in ("remove", "swap", "move") or (kind in ("replace", "ground") and rng.random() < 0.6)
    if not pair:
        return sample_lone(world, rng)
    first, second = rng.sample(world.names, 2)
    return Scene(first, rng.choice(tuple(COLOURS)), second, rng.choice(RELATIONS))


def _name(noun: str, rng: Random, plain: bool) -> str:
    return noun if plain else thing(noun, "", rng.random() < 0.8, rng)


def _wording(wordings: tuple[str, ...], rng: Random, plain: bool) -> str:
    return wordings[0] if plain else rng.choice(wordings)


def _other(world: World, scene: Scene, rng: Random) -> str:
    """A noun that is not in the scene."""
    while (noun := rng.choice(world.names)) in scene.nouns:
        pass
    return noun


def _replace(world: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, told = rng.random() < PLAIN, source if rng.random() < 0.5 else source.reversed()
    noun = _other(world, source, rng)
    old = "it" if told.second is None and rng.random() < 0.15 else _name(told.first, rng, plain)
    return _wording(REPLACE, rng, plain).format(old, _name(noun, rng, plain)), replace(told, first=noun)


def _remove(_: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, told = rng.random() < PLAIN, source if rng.random() < 0.5 else source.reversed()
    return _wording(REMOVE, rng, plain).format(_name(str(told.second), rng, plain)), told.without_second()


def _add(world: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, noun, relation = rng.random() < PLAIN, _other(world, source, rng), rng.choice(RELATIONS)
    near = "it" if rng.random() < 0.1 else _name(source.first, rng, plain)
    words = _wording(ADD, rng, plain).format(_name(noun, rng, plain))
    return f"{words} {_relation(relation, rng, plain)} {near}", Scene(noun, source.ground, source.first, relation)


def _swap(_: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, told = rng.random() < PLAIN, source if rng.random() < 0.5 else source.reversed()
    names = [_name(noun, rng, plain) for noun in told.nouns]
    both = rng.random() < 0.25
    words = rng.choice(SWAP_BOTH) if both else _wording(SWAP, rng, plain).format(*names)
    return words, Scene(str(source.second), source.ground, source.first, source.relation)


def _move(_: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, told = rng.random() < PLAIN, source if rng.random() < 0.5 else source.reversed()
    relation = rng.choice([relation for relation in RELATIONS if relation != told.relation])
    words = _wording(MOVE, rng, plain).format(_name(told.first, rng, plain))
    near = _name(str(told.second), rng, plain)
    return f"{words} {_relation(relation, rng, plain)} {near}", replace(told, relation=relation)


def _ground(_: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain = rng.random() < PLAIN
    ground = rng.choice([name for name in COLOURS if name != source.ground])
    colour = ground if plain else colour_word(ground, rng)
    wordings = (*GROUND, *GROUND_WORDS[:3])
    return _wording(wordings, rng, plain).format(colour), replace(source, ground=ground)


def _size(_: World, source: Scene, rng: Random) -> tuple[str, Scene]:
    plain, grow = rng.random() < PLAIN, source.size == "small"
    name = "it" if rng.random() < 0.4 else _name(source.first, rng, plain)
    words = _wording(SIZE, rng, plain).format(name, _wording(BIGGER if grow else SMALLER, rng, plain))
    return words, replace(source, size="large" if grow else "small", spot=None)


def _relation(relation: Relation, rng: Random, plain: bool) -> str:
    """Not the wordings with a verb in them."""
    return _wording(RELATION_WORDS[relation][:4], rng, plain)


_MAKERS: Mapping[EditKind, Callable[[World, Scene, Random], tuple[str, Scene]]] = {
    "replace": _replace,
    "remove": _remove,
    "add": _add,
    "swap": _swap,
    "move": _move,
    "ground": _ground,
    "size": _size,
}
EDIT_KINDS: tuple[EditKind, ...] = tuple(_MAKERS)
WEIGHTS = [PICKED.get(kind, 1.0) for kind in EDIT_KINDS]
