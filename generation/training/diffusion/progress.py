"""One run of training: its clock, its learning rate, its averaged weights and its checkpoint on disk.

A checkpoint is everything a later run needs to go on; it is renamed into place, so a kill never leaves half a file.
Every random draw follows from the seed and the step, so there is no generator state to keep.
Must not know what is being trained.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from generation.training.world import training_dir

SEED = 20261123
WARM_UP = 40  # steps
DECAY = 0.3  # the last share of a run, in which the rate falls to zero: the next run simply warms up again
SAVE_SECONDS = 90.0
CURVE_FIRST, CURVE_STEPS = 5, 50  # steps of a point of the curve: at first, and at the most
_log = logging.getLogger(__name__)


def checkpoint_path(stage: str) -> Path:
    return OURS.checkpoint(stage)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all stages of one training share: where its checkpoints are, and the seed of every random draw."""

    chosen: Path | None = None  # None: the developers' folder, wherever the environment says that it is
    seed: int = SEED

    @property
    def folder(self) -> Path:
        return self.chosen or training_dir() / "diffusion"

    def checkpoint(self, stage: str) -> Path:
        return self.folder / f"{stage}.pt"

    def draw(self, stage: str, step: int) -> Random:
        return draw(self.seed, stage, step)


OURS = Setting()


@dataclass(slots=True)
class Budget:
    """How long one run may train: minutes by the clock, or steps (for tests, which must not depend on speed)."""

    minutes: float
    steps: int | None = None
    begun: float = field(default_factory=time.monotonic)
    taken: int = 0
    told: float | None = None  # the share that is spent, where somebody else holds the clock

    @property
    def spent(self) -> float:
        """0 at the start, 1 when it is over."""
        if self.told is not None:
            return self.told
        if self.steps is not None:
            return self.taken / self.steps
        return (time.monotonic() - self.begun) / (60 * self.minutes)

    def rate(self, highest: float) -> float:
        left = max(0.0, 1 - self.spent)
        return highest * min(1.0, (self.taken + 1) / WARM_UP) * min(1.0, left / DECAY)


class Curve:
    """Mean losses on the way; points are dense at first, where most is learned, so a short run has some too."""

    def __init__(self, points: Iterable[Sequence[Any]] = ()) -> None:
        self.points: list[tuple[int, float]] = [(step, loss) for step, loss in points]
        self._recent: list[float] = []

    def add(self, step: int, loss: float) -> None:
        """One step's."""
        self._recent.append(loss)
        if len(self._recent) >= max(CURVE_FIRST, min(CURVE_STEPS, step // 4)):
            self.points.append((step, sum(self._recent) / len(self._recent)))
            self._recent.clear()

    def ends_at(self, step: int) -> bool:
        """Whether this step made a point."""
        return bool(self.points) and self.points[-1][0] == step


class Average:
    """An exponential moving average of the weights: what is exported and looked at."""

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.keep = keep
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        keep = min(self.keep, (step + 1) / (step + 10))  # short memory at first: the first weights are noise
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - keep)


def draw(seed: int, stage: str, step: int) -> Random:
    """The random numbers of one step, the same in every run."""
    return Random(f"{seed}/{stage}/{step}")  # noqa: S311 - training data, no secret


def noise(rng: Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(63))


def save(path: Path, state: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(dict(state), unfinished)
    unfinished.replace(path)


def load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def weights_of(state: Mapping[str, Any], name: str, *, averaged: bool = True) -> dict[str, Tensor]:
    """One network's weights out of a checkpoint."""
    return dict(state["averages" if averaged else "networks"][name])
