"""Reading what a checkpoint says of a picture, as text: objects, relation, colour. Must not know any tokenizer.

Synonyms and articles are understood, as in captions; an answer with anything else in it is not read, so it is wrong.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from generation.training.world import COLOURS, NOUNS, RELATIONS, Relation, Scene
from generation.training.world.captions import GROUND_WORDS, LARGE_WORDS, OPENINGS, RELATION_WORDS, SMALL_WORDS
from generation.training.world.nouns import COLOUR_WORDS

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was said: `first` alone, or `first` `relation` `second`, on a ground. Nothing is said of sizes."""

    first: str
    ground: str
    second: str | None = None
    relation: Relation | None = None

    def fits(self, scene: Scene) -> bool:
        """Whether it is this scene, told from either object."""
        return any(self == _said(told) for told in (scene, scene.reversed()))


def read_answer(text: str) -> Reading | None:
    """None when it is no description."""
    words = _split(text)
    for _, rest in [*_longest(OPENING, words), ("", words)]:
        for first, after in _thing(rest):
            if (found := _rest(first, after)) is not None:
                return found
    return None


def _said(scene: Scene) -> Reading:
    return Reading(scene.first, scene.ground, scene.second, scene.relation)


def _rest(first: str, words: Words) -> Reading | None:
    if (ground := GROUND.get(words)) is not None:
        return Reading(first, ground)
    for relation, after in _longest(RELATION, words):
        for second, last in _thing(after):
            if (ground := GROUND.get(last)) is not None:
                return Reading(first, ground, second, _RELATION_NAMES[relation])
    return None


def _thing(words: Words) -> Iterator[tuple[str, Words]]:
    """The noun that these words begin with, with or without an article and a size."""
    bare = words[1:] if words[:1] in ARTICLES else words
    yield from _longest(NOUN, bare)
    if bare[:1] in SIZE:
        yield from _longest(NOUN, bare[1:])


def _longest(known: dict[Words, str], words: Words) -> Iterator[tuple[str, Words]]:
    """What these words may begin with, the longest first, and the words after it."""
    for length in range(min(len(words), LONGEST), 0, -1):
        if (name := known.get(words[:length])) is not None:
            yield name, words[length:]


def _split(text: str) -> Words:
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def _table(entries: Iterable[tuple[str, str]]) -> dict[Words, str]:
    return {_split(said): name for said, name in entries}


ARTICLES = {("a",), ("an",), ("the",)}
SIZE = {_split(word) for word in (*SMALL_WORDS, *LARGE_WORDS)}
OPENING = _table((opening, opening) for opening in OPENINGS)
NOUN = _table((word, noun.name) for noun in NOUNS for word in noun.words)
RELATION = _table((said, relation) for relation in RELATIONS for said in RELATION_WORDS[relation])
GROUND = _table(
    (wording.format(said), colour)
    for wording in (*GROUND_WORDS, ", {} background")
    for colour in COLOURS
    for said in COLOUR_WORDS.get(colour, (colour,))
)
LONGEST = max(map(len, (*NOUN, *RELATION, *OPENING)))
_RELATION_NAMES: dict[str, Relation] = {relation: relation for relation in RELATIONS}
