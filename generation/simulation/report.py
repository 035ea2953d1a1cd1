"""Figures of a day beside their bars, as lines for a terminal, as Markdown for the documentation, and as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from generation.policy.choice import Rules
from generation.simulation.days import Day
from generation.simulation.figures import Outcome, outcome
from generation.simulation.play import play
from generation.simulation.rivals import Fifo, House, Policy, RoundRobin

FLOOR = 30.0  # seconds: below, waits are no trouble, and their quotients are noise
WORDS = {None: "", True: "holds", False: "MISSED"}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and the most it may be; without a bar it is a report."""

    name: str
    value: float
    bar: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is kept; None without one."""
        return None if self.bar is None else self.value <= self.bar

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "sense": "most", "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Trial:
    """One day, played through each policy."""

    title: str
    outcomes: dict[str, Outcome]
    rows: tuple[Row, ...]


def policies(rules: Rules) -> dict[str, Policy]:
    """Those that are compared. `turns alone`: the house's, without preferring what is loaded."""
    alone = replace(rules, stay=0.0)
    return {
        "first in, first out": Fifo(),
        "round robin": RoundRobin(),
        "turns alone": House(alone),
        "Tessera": House(rules),
    }


def trial(title: str, day: Day, rules: Rules) -> Trial:
    """Play `day` through all."""
    outcomes = {name: outcome(play(day, policy), day.devices) for name, policy in policies(rules).items()}
    longest = max(job.seconds for job in day.jobs) + max(one.load for one in day.shelf.values())
    return Trial(title, outcomes, tuple(_rows(title, outcomes, rules.longest_passed + longest, day.devices)))


def _rows(title: str, outcomes: dict[str, Outcome], longest: float, devices: int) -> Iterable[Row]:
    fifo, turns, ours = (outcomes[name] for name in ("first in, first out", "turns alone", "Tessera"))
    yield Row(f"{title}: swaps, of first in, first out's", _of(ours.swaps, fifo.swaps, 1), 1.1, "x")
    for kind in (kind for kind in ours.of if kind != "night"):
        p95, name = ours.of[kind].p95, f"{title}: p95 wait of {kind}"
        yield Row(f"{name}, of first in, first out's for all", _of(p95, fifo.everybody.p95), 1.5, "x")
        yield Row(f"{name}, of first in, first out's for {kind}", _of(p95, fifo.of[kind].p95), 1.5, "x")
        yield Row(f"{name}, of turns alone", _of(p95, turns.of[kind].p95), 1.5, "x")
    yield Row(f"{title}: longest passed over for a swap", ours.passed, longest, "s")
    if devices == 1:
        yield Row(f"{title}: pictures of the night before a request of now", float(ours.early_nights), 0.0)


def _of(value: float, other: float, floor: float = FLOOR) -> float:
    return round(max(value, floor) / max(other, floor), 3)


def lines(trial: Trial) -> list[str]:
    """For a terminal."""
    kinds = list(next(iter(trial.outcomes.values())).of)
    head = f"{trial.title:<22}{'swaps':>7}{'drawing':>9}{'loading':>9}" + "".join(f"{kind:>20}" for kind in kinds)
    table = [head]
    for name, found in trial.outcomes.items():
        waits = (found.of[kind] for kind in kinds)
        cells = "".join(f"{f'{one.p50:.0f}/{one.p95:.0f}/{one.most:.0f}':>20}" for one in waits)
        table.append(f"  {name:<20}{found.swaps:>7}{found.drawing:>9.0%}{found.loading:>9.0%}{cells}")
    bars = [f"  {row.name:<74}{_value(row):>10}  {_bar(row):<8} {WORDS[row.holds]}".rstrip() for row in trial.rows]
    return [*table, "", *bars, ""]


def markdown(trials: Iterable[Trial]) -> list[str]:
    """Two tables: what happened, and the figures that have a bar."""
    found = list(trials)
    kinds = list(next(iter(found[0].outcomes.values())).of)
    table = [
        "| day | policy | swaps | drawing | loading | "
        + " | ".join(f"{kind}: p50 / p95 / most" for kind in kinds)
        + " |",
        "|---|---|---|---|---|" + "---|" * len(kinds),
    ]
    for one in found:
        for name, result in one.outcomes.items():
            waits = " | ".join(_waits(result, kind) for kind in kinds)
            table.append(
                f"| {one.title} | {name} | {result.swaps} | {result.drawing:.0%} | {result.loading:.0%} | {waits} |"
            )
    table += ["", "| figure | value | bar | |", "|---|---|---|---|"]
    return table + [
        f"| {row.name} | {_value(row)} | {_bar(row)} | {WORDS[row.holds]} |" for one in found for row in one.rows
    ]


def _waits(found: Outcome, kind: str) -> str:
    waits = found.of.get(kind)
    return f"{waits.p50:.0f} / {waits.p95:.0f} / {waits.most:.0f}" if waits else ""


def _value(row: Row) -> str:
    return f"{row.value:.3g} {row.unit}".strip()


def _bar(row: Row) -> str:
    return "" if row.bar is None else f"<= {row.bar:.4g}"
