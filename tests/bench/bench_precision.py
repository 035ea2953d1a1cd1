"""What the checks for finite numbers cost: the share of drawing time, with both starters.

Small networks are the worst case: a check costs the same whatever the network, a step of theirs costs least.
"""

import importlib
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import generation
from generation.engines.base import CancelToken
from generation.engines.device import Device
from generation.engines.factory import create_engine
from generation.engines.params import CheckpointSpec, GenerationParams
from tests.bench.rows import Row

STARTERS = Path(generation.__file__).parent / "starter"
MODULES = ("precision", "diffusion_precision", "diffusion", "janus_loop", "janus_batch", "decoder")
PICTURES = 8


class Clock:
    """Stands in for `require_finite` wherever it was imported, and adds up the time that it takes."""

    def __init__(self, check: Any) -> None:
        self.seconds, self.calls, self._check = 0.0, 0, check

    def __call__(self, *given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return self._check(*given, **named)
        finally:
            self.seconds += time.perf_counter() - began
            self.calls += 1


def rows() -> list[Row]:
    """One for each family."""
    torch.set_num_threads(2)
    return [_share(family) for family in ("diffusion", "multimodal")]


def _share(family: str) -> Row:
    engine = create_engine(CheckpointSpec("starter", str(STARTERS / family), family))
    engine.load(Device("cpu"))
    params = GenerationParams("a red apple left of a dog on white", 128, 128, 1)
    _draw(engine, params)  # warm
    clock = _listen()
    began = time.perf_counter()
    for seed in range(PICTURES):
        _draw(engine, GenerationParams(params.prompt, 128, 128, seed))
    total = time.perf_counter() - began
    share = 100 * clock.seconds / total
    remark = f"{clock.calls / PICTURES:.0f} checks a picture, starter, {PICTURES} pictures"
    return Row(f"finite checks, share of the time, {family}", share, 1.0, "most", "%", remark)


def _draw(engine: Any, params: GenerationParams) -> None:
    for _ in engine.generate(params, CancelToken()):
        pass


def _listen() -> Clock:
    precision = importlib.import_module("generation.engines.precision")
    check = precision.require_finite
    clock = Clock(getattr(check, "_check", check))
    for module in _loaded():
        if hasattr(module, "require_finite"):
            module.require_finite = clock  # type: ignore[attr-defined]
    return clock


def _loaded() -> list[ModuleType]:
    import sys

    return [module for name in MODULES if (module := sys.modules.get(f"generation.engines.{name}")) is not None]
