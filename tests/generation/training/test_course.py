"""The course and its door, without torch: what a kill before the first checkpoint leaves, budgets, wrong wishes."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from generation.training import __main__ as door
from generation.training.course import Course, Stage, Work
from generation.training.reports import Report
from generation.training.state import State


class Killed(BaseException):
    """Nothing is caught, nothing is saved."""


class Still:
    """Work that is killed in its first step."""

    step = 0

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def advance(self, spent: float) -> float:
        raise Killed

    def save(self) -> None:
        raise AssertionError("there is nothing to save")

    def close(self) -> None:
        raise AssertionError("it has not ended")


def test_a_training_killed_before_its_first_checkpoint_can_be_resumed(tmp_path: Path) -> None:
    def begin(_: bool) -> Work:
        return Still(tmp_path / "draw")

    told: list[Report] = []
    course = Course(tmp_path, State("multimodal", 7, 5.0), [Stage("draw", 5.0, begin)], told.append)
    with pytest.raises(Killed):
        course.run(resume=False)
    begun = State.load(tmp_path)
    assert begun is not None
    assert (begun.seed, begun.minutes, begun.of("draw").steps) == (7, 5.0, 0)


def test_a_new_budget_takes_the_place_of_the_old_one() -> None:
    state = State("multimodal", 7, 220.0)
    state.take_budget(None, 3)
    assert (state.minutes, state.steps) == (220.0, 3)
    state.take_budget(None, None)
    assert (state.minutes, state.steps) == (220.0, 3), "no wish, no change"
    state.take_budget(10.0, None)
    assert (state.minutes, state.steps) == (10.0, None)


@pytest.mark.parametrize(
    "wish", [("--minutes", "inf"), ("--minutes", "nan"), ("--steps", "0"), ("--seed", "-1"), ("--seed", str(2**70))]
)
def test_a_wrong_wish_is_told_before_anything_is_prepared(
    wish: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door.signal, "signal", lambda *_: None)
    monkeypatch.setattr(door, "build_world", lambda _: pytest.fail("it prepares"))
    arguments = ["multimodal", *wish, "--folder", str(tmp_path)]
    monkeypatch.setattr(door, "write_log", lambda report: print(report.text))  # noqa: T201
    assert door.main(arguments) == 2
    assert wish[0] in capsys.readouterr().out


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("inf"), float("nan")])
def test_the_command_wants_an_end(minutes: float) -> None:
    with pytest.raises(CommandError, match="--minutes must be more than nothing, and have an end"):
        call_command("train_starter", "multimodal", minutes=minutes)
