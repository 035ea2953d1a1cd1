"""The plan of a run: its numbers, and how the learning rate follows the time. Holds no state."""

from dataclasses import dataclass
from pathlib import Path


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


def rate_share(plan: Plan, step: int, gone: float) -> float:
    """Warm up by steps, hold, then fall by time to a twentieth at the end of the run."""
    warm = min(1.0, (step + 1) / plan.warm_steps)
    left = (plan.minutes - gone) / max(plan.minutes * plan.cooldown, 1e-6)
    return warm * min(1.0, max(0.05, left))
