"""The trials: what the starters are asked, every time the same for the same seed. Nothing that training has seen.

Each task draws its own lot, so that one can be changed without moving the others. Must not draw or judge.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal

from generation.evaluation.reading import read_answer
from generation.training.world import EDIT_KINDS, QUESTIONS, Scene, World, caption, plain_caption, sample_edit

Task = Literal["one", "two", "describe", "edit"]
TASKS: tuple[Task, ...] = ("one", "two", "describe", "edit")


@dataclass(frozen=True, slots=True)
class Trial:
    """`words` are the prompt, the question or the instruction; `scene` is what must come out, or what is shown."""

    task: Task
    kind: str  # the wording of a prompt, the number of objects to describe, the kind of an edit
    words: str
    scene: Scene
    seed: int
    source: Scene | None = None


def make_trials(world: World, task: Task, count: int, seed: int) -> list[Trial]:
    """`count` of them; of edits a few more, so that there are as many of each kind."""
    rng = Random(f"{seed} {task}")  # noqa: S311 - a fixed evaluation set, not a secret
    make = {"describe": _describe, "edit": _edit}.get(task, _draw)
    count += -count % len(EDIT_KINDS) if task == "edit" else 0
    return [make(world, task, number, seed + number, rng) for number in range(count)]


def _draw(world: World, task: Task, _: int, seed: int, rng: Random) -> Trial:
    """Captions that leave the colour out are drawn again, so that every prompt asks for everything."""
    scene = world.sample_held_out(rng, pair=task == "two")
    while not _names_ground(words := caption(scene, rng)):
        pass
    return Trial(task, wording(words, scene), words, scene, seed)


def _describe(world: World, task: Task, number: int, seed: int, rng: Random) -> Trial:
    pair = number % 2 == 1
    scene = world.sample_held_out(rng, pair=pair)
    return Trial(task, "two objects" if pair else "one object", rng.choice(QUESTIONS), scene, seed, source=scene)


def _edit(world: World, task: Task, number: int, seed: int, rng: Random) -> Trial:
    edit = sample_edit(world, rng, EDIT_KINDS[number % len(EDIT_KINDS)], wanted=True)
    return Trial(task, edit.kind, edit.instruction, edit.target, seed, source=edit.source)


def wording(words: str, scene: Scene) -> str:
    """Plain, with a synonym for an object, or else free: articles, openings, other words around the objects."""
    if words in (plain_caption(scene), plain_caption(scene.reversed())):
        return "plain"
    return "free" if all(f" {noun} " in f" {words.replace(',', ' ,')} " for noun in scene.nouns) else "synonyms"


def _names_ground(words: str) -> bool:
    """Every caption that can be read names one."""
    return read_answer(words) is not None
