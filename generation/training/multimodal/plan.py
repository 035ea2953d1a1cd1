"""The plan of a run: its numbers, and how the learning rate follows the time. Holds no state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Task = Literal["draw", "describe", "edit", "copy", "restate"]
# Shares of a step while it learns to read pictures, and from then on; what these three leave draws
READING: Mapping[Task, float] = {"describe": 0.25, "edit": 0.375, "copy": 0.125, "restate": 0.5}
EDITING: Mapping[Task, float] = {"describe": 0.125, "edit": 0.5, "copy": 0.03125, "restate": 0.125}
# captions to put into the words of an answer come beside those; short, so they cost little


SEEN_AT_ONCE = 24  # pictures a step while only seeing is learned


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a run. Kept apart from the state, so that a resumed run may change them."""

    folder: Path
    minutes: float = 90.0
    batch: int = 32
    muon_rate: float = 0.02
    adam_rate: float = 2e-3
    table_rate: float = 5e-4
    warm_steps: int = 50
    cooldown: float = 0.25  # share of the run in which the rate falls to a twentieth
    average: float = 0.998
    save_minutes: float = 4.0
    score_minutes: float = 10.0
    score_prompts: int = 24
    export_prompts: int = 200
    seed: int = 7
    start: Path | None = None  # an exported folder to begin with; None begins from nothing
    eyes: float = 1.0  # how much faster than its rate says the vision tower is moved
    reading_steps: int = 640  # describing is nearly right then, editing is not
    follow: bool = False  # whether to learn to describe and to edit too, with eyes from the stage before

    def parts(self, step: int) -> Mapping[Task, int]:
        """How many sequences of each task make this step."""
        if not self.follow:
            return {"draw": self.batch}
        shares = READING if step < self.reading_steps else EDITING
        parts: dict[Task, int] = {task: round(self.batch * share) for task, share in shares.items()}
        return {"draw": self.batch - sum(parts.values()) + parts["restate"], **parts}


def following_plan(folder: Path, start: Path, **changes: Any) -> Plan:
    """Goes on from weights that draw: half the rates, or less for the tables, and an average over fewer steps.

    The vision tower stays as it is: what comes back from a language model that does not understand it yet blinds it
    (after 100 steps its features were eight times too long and told no noun any more).
    """
    plan = Plan(folder, muon_rate=0.01, adam_rate=1e-3, table_rate=1.25e-4, average=0.99)
    return replace(plan, start=start, follow=True, eyes=0.0, **changes)


def rate_share(plan: Plan, step: int, gone: float) -> float:
    """Warm up by steps, hold, then fall by time to a twentieth at the end of the run."""
    warm = min(1.0, (step + 1) / plan.warm_steps)
    left = (plan.minutes - gone) / max(plan.minutes * plan.cooldown, 1e-6)
    return warm * min(1.0, max(0.05, left))
