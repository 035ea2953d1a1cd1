"""The scheduler of one picture: the one chosen by name, or the checkpoint's own, always fresh because it has state."""

import functools
import inspect
from typing import Any

import diffusers
import torch

from generation.engines.schedulers import SCHEDULERS


def fresh_scheduler(own: Any, name: str | None, generator: torch.Generator) -> Any:
    """A scheduler of the kind `name` for what the checkpoint's `own` one says about its network.

    All chance in it comes from `generator`.
    """
    if name is None:
        made = type(own).from_config(own.config)
    else:
        class_name, options = SCHEDULERS[name]
        made = getattr(diffusers, class_name).from_config(own.config, **_carried(own.config), **options)
    if made.config.get("use_flow_sigmas") and not hasattr(made, "scale_noise"):
        made.scale_noise = _scale_noise(made)
    if "generator" in inspect.signature(made.step).parameters:
        made.step = _seeded(made.step, generator)
    return made


def _carried(config: Any) -> dict[str, Any]:
    """What two kinds of flow schedulers call by two names, which from_config would lose."""
    shift = config.get("shift", config.get("flow_shift"))
    return {} if shift is None else {"shift": shift, "flow_shift": shift}


def _scale_noise(scheduler: Any) -> Any:
    """Flow pipelines that begin with a picture ask for noise by this name, in this order."""

    def scale_noise(sample: torch.Tensor, timestep: torch.Tensor, noise: torch.Tensor) -> Any:
        return scheduler.add_noise(sample, noise, timestep)

    return scale_noise


def _seeded(step: Any, own: torch.Generator) -> Any:
    """Flow pipelines do not hand their generator on, and the scheduler would then draw from everybody's."""

    @functools.wraps(step)
    def seeded(*given: Any, **named: Any) -> Any:
        if named.get("generator") is None:
            named["generator"] = own
        return step(*given, **named)

    return seeded
