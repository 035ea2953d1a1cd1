"""Captions: many wordings for one scene, in the words a person would use.

Must not look at pixels. `plain_caption` is the one fixed wording that evaluations and tests use.
"""

from collections.abc import Mapping
from random import Random

from generation.training.world.nouns import COLOUR_WORDS, COLOURS, NOUN_BY_NAME, NOUNS
from generation.training.world.scene import Relation, Scene

OPENINGS = ("a picture of", "an image of", "a drawing of", "an icon of", "a photo of", "an illustration of", "draw")
RELATION_WORDS: Mapping[Relation, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of", "on the left side of", "is to the left of"),
    "right of": ("right of", "to the right of", "on the right of", "on the right side of", "is to the right of"),
    "above": ("above", "over", "on top of", "is above"),
    "below": ("below", "under", "beneath", "underneath", "is below"),
}
GROUND_WORDS = ("on {}", "on a {} background", "with a {} background", "against {}", "in front of a {} background")
SMALL_WORDS = ("small", "little", "tiny")
LARGE_WORDS = ("big", "large")
# Words of the instructions (describe, edit), beside those of captions. In this order they are rows of the weights.
INSTRUCTION_WORDS = (
    "describe what is are there in this the picture image replace change turn swap exchange with for by and into "
    "remove delete erase take away add put place insert move bring make set paint bigger smaller larger keep same "
    "it its other object objects thing background colour color new next beside between near two one no nothing ? ! : ;"
)

PLAIN, OPENED = 0.4, 0.3


def plain_caption(scene: Scene) -> str:
    """Like "cat left of pizza on blue": the shortest full wording."""
    size = "small " if scene.second is None and scene.size == "small" else ""
    relation = f" {scene.relation} {scene.second}" if scene.second else ""
    return f"{size}{scene.first}{relation} on {scene.ground}"


def answer(scene: Scene) -> str:
    """What a description of this picture must say, word for word: the plain caption, told from the left or the top."""
    return plain_caption(scene.canonical())


def caption(scene: Scene, rng: Random) -> str:
    """One of the many ways to ask for this scene."""
    if rng.random() < PLAIN:
        return plain_caption(scene if rng.random() < 0.8 else scene.reversed())
    told = scene if rng.random() < 0.5 else scene.reversed()
    articles = rng.random() < 0.7
    subject = thing(told.first, _size_word(told, rng), articles, rng)
    if told.second is not None and told.relation is not None:
        other = thing(told.second, "", articles, rng)
        subject = f"{subject} {rng.choice(RELATION_WORDS[told.relation])} {other}"
    text = f"{subject}{_ground(told.ground, rng)}"
    return f"{rng.choice(OPENINGS)} {text}" if rng.random() < OPENED else text


def _size_word(scene: Scene, rng: Random) -> str:
    if scene.second is not None:
        return ""
    if scene.size == "small":
        return rng.choice(SMALL_WORDS)
    return rng.choice(LARGE_WORDS) if rng.random() < 0.1 else ""


def thing(noun: str, size: str, articles: bool, rng: Random) -> str:
    """One of the ways to name it."""
    words = NOUN_BY_NAME[noun].words
    name = words[0] if rng.random() < 0.5 else rng.choice(words)
    thing = f"{size} {name}".strip()
    if not articles:
        return thing
    return f"the {thing}" if rng.random() < 0.3 else f"{_article(thing)} {thing}"


def _article(thing: str) -> str:
    return "an" if thing[0] in "aeiou" and not thing.startswith(("unicorn", "ufo")) else "a"


def colour_word(ground: str, rng: Random) -> str:
    """One of the ways to name this colour."""
    return rng.choice(COLOUR_WORDS.get(ground, (ground,)))


def _ground(ground: str, rng: Random) -> str:
    if rng.random() < 0.06:
        return ""  # people leave the colour out; any ground is then right
    colour = colour_word(ground, rng)
    if rng.random() < 0.15:
        return f", {colour} background"
    return " " + rng.choice(GROUND_WORDS).format(colour)


def all_words() -> tuple[str, ...]:
    """Every text a tokenizer must know, one wording each; split into words by whoever builds the vocabulary."""
    nouns = [word for noun in NOUNS for word in noun.words]
    colours = [word for colour in COLOURS for word in COLOUR_WORDS.get(colour, (colour,))]
    relations = [wording for wordings in RELATION_WORDS.values() for wording in wordings]
    grounds = [wording.format("") for wording in GROUND_WORDS]
    sizes = [*SMALL_WORDS, *LARGE_WORDS]
    return (*nouns, *colours, *relations, *OPENINGS, *grounds, *sizes, "a an the , .", INSTRUCTION_WORDS)
