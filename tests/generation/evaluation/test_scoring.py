"""True pictures and words are all right, others are not; nothing that is asked was seen in training."""

from dataclasses import replace

import numpy as np
import pytest

from generation.evaluation.scoring import score_answer, score_picture
from generation.evaluation.trials import TASKS, Task, Trial, make_trials
from generation.training.world import COLOURS, EDIT_KINDS, Scene, World, answer, held_out


@pytest.mark.parametrize("task", TASKS)
def test_trials_are_unseen_the_same_every_time_and_of_every_kind(world: World, task: Task) -> None:
    trials = make_trials(world, task, 28, 5)
    assert trials == make_trials(world, task, 28, 5)
    assert trials != make_trials(world, task, 28, 6)
    assert all(held_out(trial.scene) for trial in trials)
    assert trials[:7] == make_trials(world, task, 7, 5), "a small run is the beginning of a large one"
    kinds = [trial.kind for trial in trials]
    if task == "edit":
        assert {kind: kinds.count(kind) for kind in EDIT_KINDS} == dict.fromkeys(EDIT_KINDS, 4)
    elif task == "describe":
        assert kinds.count("one object") == kinds.count("two objects") == 14
        assert all(trial.source == trial.scene for trial in trials)
    else:
        assert len(set(kinds)) > 1, "several wordings"
        assert all((trial.scene.second is not None) is (task == "two") and trial.source is None for trial in trials)
        assert all(any(said in trial.words for said in names(trial.scene.ground)) for trial in trials)


def names(ground: str) -> tuple[str, ...]:
    return {"gray": ("gray", "grey"), "purple": ("purple", "violet"), "teal": ("teal", "turquoise")}.get(
        ground, (ground,)
    )


@pytest.mark.parametrize("task", ["one", "two", "edit"])
def test_true_pictures_are_all_right(world: World, task: Task) -> None:
    outcomes = [score_picture(world, trial, world.compose(trial.scene)) for trial in make_trials(world, task, 28, 1)]
    assert all(outcome.right and outcome.ground and outcome.exact for outcome in outcomes)


def other_object(world: World, scene: Scene) -> Scene:
    return replace(scene, first=next(name for name in world.names if name not in scene.nouns))


def other_ground(scene: Scene) -> Scene:
    return replace(scene, ground=next(name for name in COLOURS if name != scene.ground))


@pytest.mark.parametrize("task", ["one", "two", "edit"])
def test_wrong_pictures_are_not(world: World, task: Task) -> None:
    for trial in make_trials(world, task, 14, 1):
        wrong = score_picture(world, trial, world.compose(other_object(world, trial.scene)))
        assert (wrong.right, wrong.ground) == (False, True)
        painted = score_picture(world, trial, world.compose(other_ground(trial.scene)))
        assert (painted.right, painted.ground, painted.exact) == (task != "edit", False, False)
        if trial.scene.second is not None:
            assert not score_picture(world, trial, world.compose(swapped(trial.scene))).right


def swapped(scene: Scene) -> Scene:
    return replace(scene, first=str(scene.second), second=scene.first)


def test_an_edit_that_changes_nothing_or_leaves_something_behind_is_wrong(world: World) -> None:
    for trial in make_trials(world, "edit", 28, 1):
        assert trial.source is not None
        assert not score_picture(world, trial, world.compose(trial.source)).right, trial


def test_an_object_too_thin_to_be_a_stray_tile_is_left_behind_all_the_same(world: World) -> None:
    thin = np.zeros((64, 64, 4), dtype=np.uint8)
    thin[:, 30:33] = 255
    first, second = world.names[:2]
    small = world.icons["small"].copy()
    small[1] = thin
    drawn = World(world.nouns, {**world.icons, "small": small})
    source = Scene(first, "gray", second, "left of")
    trial = Trial("edit", "remove", f"remove {second}", source.without_second(), 1, source)
    kept, done = (score_picture(drawn, trial, drawn.compose(scene)) for scene in (source, trial.scene))
    assert kept.exact, "the judge alone forgives it"
    assert not kept.right and "more as it was" in kept.shown
    assert done.right


def test_a_picture_of_another_size_is_wrong_and_no_crash(world: World) -> None:
    trial = make_trials(world, "one", 1, 1)[0]
    assert not score_picture(world, trial, np.zeros((16, 16, 3), dtype=np.uint8)).right


def test_words_are_right_when_they_say_what_is_shown(world: World) -> None:
    for trial in make_trials(world, "describe", 20, 1):
        assert score_answer(trial, answer(trial.scene)).right
        assert not score_answer(trial, answer(other_object(world, trial.scene))).right
        assert not score_answer(trial, answer(other_ground(trial.scene))).right
    for text in ("", "nothing", "<unk> <unk>"):
        assert not score_answer(trial, text).right
    assert score_answer(Trial("describe", "", "", Scene("cat", "red"), 1), "dog on red").ground
