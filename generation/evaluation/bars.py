"""The bars: what the two starters must reach, and the figures that are held against them. Must not measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from generation.engines.params import Family
from generation.evaluation.asking import Measured
from generation.evaluation.scoring import Outcome
from generation.evaluation.trials import Task

Row = Literal["one", "ground", "two", "describe", "edit", "seconds"]
FAMILIES: tuple[Family, ...] = ("multimodal", "diffusion")
TITLES: Mapping[Row, str] = {
    "one": "one object, right object",
    "ground": "background colour right",
    "two": "two objects, both right and in the right places",
    "describe": "describe: objects, relation, colour all right",
    "edit": "edit by instruction: the change made, the rest kept",
    "seconds": "seconds a picture",
}
SHARES: tuple[Row, ...] = ("one", "ground", "two", "describe", "edit")
# Shares are the least, seconds the most; None is reported and not held against anybody.
BARS: Mapping[Family, Mapping[Row, float | None]] = {
    "multimodal": {"one": 0.99, "ground": 0.98, "two": 0.95, "describe": 0.95, "edit": 0.9, "seconds": 1.5},
    "diffusion": {"one": 0.9, "ground": 0.95, "two": None, "describe": None, "edit": None, "seconds": 3.0},
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure and its bar. No value: the checkpoint cannot do it."""

    value: float | None
    bar: float | None
    passed: bool | None  # None where there is no bar


def figures(found: Measured) -> dict[Row, float | None]:
    """Shares of right outcomes, and the median seconds."""
    tasks: tuple[Task, ...] = ("one", "two", "describe", "edit")
    shares: dict[Row, float | None] = {task: share(found.outcomes.get(task, []), _right) for task in tasks}
    drawn = [*found.outcomes.get("one", []), *found.outcomes.get("two", [])]
    seconds = median(found.seconds) if found.seconds else None
    return {**shares, "ground": share(drawn, _ground), "seconds": seconds}


def cells(family: Family, found: Measured) -> dict[Row, Cell]:
    """Every row of this family's column."""
    values = figures(found)
    return {row: _cell(row, values[row], BARS[family][row]) for row in TITLES}


def understanding(found: Measured) -> tuple[float, int]:
    """The mean of all five shares, and how many of them it can do at all: what it cannot counts as nothing right.

    An edit by image to image follows no instruction: that counts as cannot.
    """
    values = figures(found)
    rows = [row for row in SHARES if row != "edit" or found.ways.get("edit") == "edit"]
    shares = [value for row in rows if (value := values[row]) is not None]
    return sum(shares) / len(SHARES), len(shares)


def share(outcomes: list[Outcome], wanted: Callable[[Outcome], bool]) -> float | None:
    """None when nothing was asked."""
    return sum(map(wanted, outcomes)) / len(outcomes) if outcomes else None


def by_kind(outcomes: list[Outcome]) -> dict[str, tuple[float, int]]:
    """Share right and how many, for each kind of trial, in alphabetical order."""
    kinds = sorted({outcome.trial.kind for outcome in outcomes})
    lots = {kind: [outcome for outcome in outcomes if outcome.trial.kind == kind] for kind in kinds}
    return {kind: (sum(map(_right, lot)) / len(lot), len(lot)) for kind, lot in lots.items()}


def _cell(row: Row, value: float | None, bar: float | None) -> Cell:
    if bar is None:
        return Cell(value, None, None)
    return Cell(value, bar, value is not None and (value <= bar if row == "seconds" else value >= bar))


def _right(outcome: Outcome) -> bool:
    return outcome.right


def _ground(outcome: Outcome) -> bool:
    return outcome.ground
