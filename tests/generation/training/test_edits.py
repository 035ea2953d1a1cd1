"""Edits: the split holds on both sides, the words are known, and the target is the source with the one change made."""

from random import Random

import numpy as np
import pytest

from generation.training.multimodal.codebook import Codebook
from generation.training.world import (
    EDIT_KINDS,
    QUESTIONS,
    EditKind,
    Scene,
    World,
    all_words,
    answer,
    held_out,
    judge,
    sample_edit,
    sample_lone,
)


def known_words() -> set[str]:
    return {word for text in all_words() for word in text.replace(",", " , ").split()} | {",", "them"}


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_an_edit_keeps_to_the_split_and_to_known_words(tiny_world: World, kind: EditKind) -> None:
    rng, known = Random(1), known_words()  # noqa: S311
    for _ in range(60):
        edit = sample_edit(tiny_world, rng, kind)
        assert edit.kind == kind
        assert edit.source != edit.target
        assert not held_out(edit.source)
        assert not held_out(edit.target)
        assert set(edit.instruction.split()) <= known, edit.instruction
    assert all(held_out(sample_edit(tiny_world, rng, kind, wanted=True).target) for _ in range(10))


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_an_edit_changes_what_its_kind_says_and_keeps_the_rest(tiny_world: World, kind: EditKind) -> None:
    rng = Random(2)  # noqa: S311
    for _ in range(60):
        edit = sample_edit(tiny_world, rng, kind)
        before, after = edit.source, edit.target
        assert (before.ground == after.ground) is (kind != "ground")
        same_nouns = set(before.nouns) == set(after.nouns)
        assert same_nouns is (kind in ("swap", "move", "ground", "size"))
        kept = set(before.places) & set(after.places)
        assert len(kept) == {"replace": len(before.nouns) - 1, "remove": 1, "ground": len(before.nouns)}.get(
            kind, len(kept)
        )
        if kind == "swap":
            places = [{(place.row, place.column) for place in scene.places} for scene in (before, after)]
            assert places[0] == places[1]
            assert not kept


def test_questions_use_known_words() -> None:
    assert {word for question in QUESTIONS for word in question.split()} <= known_words()


def test_a_lone_object_at_a_spot_is_drawn_and_judged_there(tiny_world: World) -> None:
    codebook, rng = Codebook.build(tiny_world), Random(3)  # noqa: S311
    for _ in range(40):
        scene = sample_lone(tiny_world, rng)
        picture = tiny_world.compose(scene)
        assert np.array_equal(codebook.mosaic.decode(codebook.encode(scene)), picture)
        assert judge(tiny_world, picture, scene).right


def test_what_is_left_of_a_pair_stays_where_it_was() -> None:
    left = Scene("cat", "blue", "pizza", "left of").without_second()
    assert left == Scene("cat", "blue", size="small", spot="left")
    assert Scene("cat", "blue", "pizza", "left of").places[0] == left.places[0]
    with pytest.raises(ValueError, match="second"):
        left.without_second()
    with pytest.raises(ValueError, match="spot"):
        Scene("cat", "blue", spot="left")


def test_an_answer_is_told_from_the_left_or_the_top() -> None:
    assert answer(Scene("pizza", "blue", "cat", "right of")) == "cat left of pizza on blue"
    assert answer(Scene("pizza", "blue", "cat", "below")) == "cat above pizza on blue"
    assert answer(Scene("cat", "blue", size="small", spot="top")) == "small cat on blue"
