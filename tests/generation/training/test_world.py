"""The world: scenes, captions, the split and the judge agree with each other."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from generation.training.world import (
    CANVAS,
    COLOURS,
    NOUNS,
    RELATIONS,
    Scene,
    World,
    all_words,
    caption,
    held_out,
    held_out_pair,
    judge,
    plain_caption,
)


def test_world_is_large_enough_and_every_name_is_said_once() -> None:
    said = [word for noun in NOUNS for word in noun.words]
    assert len(NOUNS) >= 200
    assert len(COLOURS) == 12
    assert len(said) == len(set(said))


def test_split_is_fixed_symmetric_and_about_a_tenth() -> None:
    names = [noun.name for noun in NOUNS]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    held = [pair for pair in pairs if held_out_pair(*pair)]
    assert 0.09 < len(held) / len(pairs) < 0.115
    assert all(held_out_pair(b, a) for a, b in held[:50])
    assert held_out_pair("cat", "pizza") is False  # written down: scores are only comparable while this stays
    assert [b for b in names[2:40] if held_out_pair("cat", b)] == ["wolf", "rabbit", "hedgehog", "crocodile", "turtle"]


def test_sampling_keeps_to_its_side_of_the_split(tiny_world: World) -> None:
    rng = Random(1)  # noqa: S311
    assert not any(held_out(tiny_world.sample(rng)) for _ in range(200))
    assert all(held_out(tiny_world.sample_held_out(rng, pair=False)) for _ in range(50))


def test_judge_reads_every_composed_scene(tiny_world: World) -> None:
    rng = Random(2)  # noqa: S311
    for _ in range(60):
        scene = tiny_world.sample(rng)
        picture = tiny_world.compose(scene)
        assert picture.shape == (CANVAS, CANVAS, 3)
        assert judge(tiny_world, picture, scene).right


def test_judge_sees_a_wrong_noun_a_wrong_ground_and_swapped_places(tiny_world: World) -> None:
    one, two, three = tiny_world.names[:3]
    asked = Scene(one, "blue", two, "left of")
    assert not judge(tiny_world, tiny_world.compose(Scene(one, "blue", three, "left of")), asked).nouns_right
    assert not judge(tiny_world, tiny_world.compose(Scene(one, "red", two, "left of")), asked).ground_right
    assert not judge(tiny_world, tiny_world.compose(Scene(one, "blue", two, "right of")), asked).right


def test_judge_sees_what_was_left_behind(tiny_world: World) -> None:
    pair = Scene(tiny_world.names[0], "blue", tiny_world.names[1], "left of")
    verdict = judge(tiny_world, tiny_world.compose(pair), pair.without_second())
    assert verdict.right
    assert not verdict.exact
    assert judge(tiny_world, tiny_world.compose(pair.without_second()), pair.without_second()).exact


def test_judge_forgives_noise(tiny_world: World) -> None:
    scene = Scene(tiny_world.names[0], "teal", tiny_world.names[1], "above")
    noise = np.random.default_rng(3).normal(0, 25, (CANVAS, CANVAS, 3))
    picture = np.clip(tiny_world.compose(scene) + noise, 0, 255).astype(np.uint8)
    assert judge(tiny_world, picture, scene).exact


@pytest.mark.parametrize("relation", RELATIONS)
def test_told_from_the_other_object_it_is_the_same_picture(tiny_world: World, relation: str) -> None:
    scene = Scene(tiny_world.names[0], "pink", tiny_world.names[1], relation)  # type: ignore[arg-type]
    assert scene.reversed() != scene
    assert np.array_equal(tiny_world.compose(scene), tiny_world.compose(scene.reversed()))


def test_captions_name_the_nouns_and_use_known_words_only(tiny_world: World) -> None:
    known = {word for text in all_words() for word in text.replace(",", " , ").split()} | {","}
    rng = Random(4)  # noqa: S311
    seen = set()
    for _ in range(300):
        scene = tiny_world.sample(rng)
        text = caption(scene, rng)
        seen.add(text)
        assert set(text.replace(",", " , ").split()) <= known, text
    assert len(seen) > 250


def test_plain_caption_says_everything() -> None:
    assert plain_caption(Scene("cat", "blue", "pizza", "left of")) == "cat left of pizza on blue"
    assert plain_caption(Scene("cat", "blue", size="small")) == "small cat on blue"


def test_scene_refuses_half_a_pair() -> None:
    with pytest.raises(ValueError, match="relation"):
        Scene("cat", "blue", second="pizza")


def test_world_is_read_back_from_its_cache(tiny_world: World, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "world.npz"
    tiny_world.save(path)
    with np.load(path) as stored:
        assert np.array_equal(stored["large"], tiny_world.icons["large"])
