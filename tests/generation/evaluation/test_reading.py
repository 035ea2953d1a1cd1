"""Answers are read as a person reads them, and what is no answer is not."""

from random import Random

import pytest

from generation.evaluation.reading import Reading, read_answer
from generation.training.world import COLOURS, NOUNS, RELATIONS, Scene, answer, caption, plain_caption

NAMES = [noun.name for noun in NOUNS]


def scene_by_lot(rng: Random) -> Scene:
    first, second = rng.sample(NAMES, 2)
    ground = rng.choice(tuple(COLOURS))
    return Scene(first, ground, second, rng.choice(RELATIONS)) if rng.random() < 0.5 else Scene(first, ground)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("cat on blue", Reading("cat", "blue")),
        ("small cat on blue", Reading("cat", "blue")),
        ("A Cat, on a violet background.", Reading("cat", "purple")),
        ("cat left of pizza on blue", Reading("cat", "blue", "pizza", "left of")),
        ("an image of a kitty to the left of the pizza, grey background", Reading("cat", "gray", "pizza", "left of")),
        ("the pine tree is above t - rex on teal", Reading("pine tree", "teal", "dinosaur", "above")),
        ("big wheel on top of hot dog against orange", Reading("ferris wheel", "orange", "hot dog", "above")),
        ("", None),
        ("cat", None),
        ("blue", None),
        ("cat left of on blue", None),
        ("cat pizza on blue", None),
        ("cat on blue on red", None),
        ("cat on blue left of pizza", None),
        ("nothing on blue", None),
        ("cat left of pizza left of dog on blue", None),
    ],
)
def test_it_is_read_whole_or_not_at_all(text: str, reading: Reading | None) -> None:
    assert read_answer(text) == reading


def test_every_answer_is_understood_from_either_object() -> None:
    rng = Random(3)  # noqa: S311 - the same every time
    for scene in (scene_by_lot(rng) for _ in range(400)):
        for text in (answer(scene), plain_caption(scene), plain_caption(scene.reversed())):
            reading = read_answer(text)
            assert reading is not None and reading.fits(scene), text


def test_every_caption_that_names_a_ground_is_understood() -> None:
    rng, read = Random(4), 0  # noqa: S311 - the same every time
    for scene in (scene_by_lot(rng) for _ in range(1000)):
        text = caption(scene, rng)
        if (reading := read_answer(text)) is not None:
            assert reading.fits(scene), text
            read += 1
    assert read > 930, "about one caption of 25 leaves the colour out"


def test_a_wrong_object_place_or_colour_does_not_fit() -> None:
    scene = Scene("cat", "blue", "pizza", "left of")
    for text in (
        "dog left of pizza on blue",
        "cat left of dog on blue",
        "pizza left of cat on blue",
        "cat above pizza on blue",
        "cat left of pizza on teal",
        "cat on blue",
    ):
        reading = read_answer(text)
        assert reading is not None and not reading.fits(scene), text
    told_from_the_other = read_answer("pizza right of cat on blue")
    assert told_from_the_other is not None and told_from_the_other.fits(scene)
