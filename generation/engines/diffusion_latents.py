"""The predicted clean latent (x0) of every step, whatever the scheduler and whatever the network predicts.

Pipelines hand out only the noisy latent; a preview of that is a preview of noise. Some have no call-back at all, but
each steps its scheduler.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

# their second value is something else than x0
MISLEADING = frozenset({"TCDScheduler"})
# theirs is x0 as much smaller as their `sigma_data` says
SCALED = frozenset({"SCMScheduler"})
Heard = Callable[[int, torch.Tensor, torch.Tensor | None], None]


class CleanLatents:
    """Listens to one scheduler (one request's own): tells after each step how many there were, and both latents.

    `latest` is the newest; None as long as none is known.
    """

    def __init__(self, scheduler: Any, heard: Heard = lambda steps, noisy, clean: None) -> None:
        self.latest: torch.Tensor | None = None
        self.steps = 0
        name = type(scheduler).__name__
        told_by_step = name not in MISLEADING
        step = scheduler.step

        @functools.wraps(step)  # keeps the signature: pipelines look at it to see which arguments step takes
        def listen(model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *rest: Any, **named: Any) -> Any:
            result = step(model_output, timestep, sample, *rest, **named)
            told = tuple(result) if isinstance(result, tuple) else tuple(result.values())
            if len(told) > 1 and told_by_step:
                self.latest = told[1] / scheduler.config.sigma_data if name in SCALED else told[1]
            else:
                self.latest = clean_latent(scheduler, model_output, timestep, sample)
            self.steps += 1
            heard(self.steps, told[0], self.latest)
            return result

        scheduler.step = listen


def clean_latent(scheduler: Any, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor | None:
    """x0 from the network's output and the noisy sample it was given, after `scheduler.step` has moved on.

    None when this scheduler keeps to itself how much noise there was.
    """
    kind = _prediction(scheduler)
    if kind == "sample":
        return output
    levels = _levels(scheduler, timestep)
    if levels is None:
        return None
    alpha, sigma = levels[0].to(sample), levels[1].to(sample)
    if kind == "flow_prediction":
        return sample - sigma * output
    if kind == "v_prediction":
        return alpha * sample - sigma * output
    return (sample - sigma * output) / alpha


def unpacked(latent: torch.Tensor, channels: int, width: int, height: int) -> torch.Tensor:
    """As the decoder has it, [batch, channels, rows, columns]: transformers see rows of patches, or single frames."""
    if latent.ndim == 5:
        last = latent.shape[1] == 1 and latent.shape[-1] == channels
        latent = latent[:, 0].movedim(-1, 1) if last else latent[:, :, 0]
    if latent.ndim == 3:
        rows = round(math.sqrt(latent.shape[1] * height / width))
        latent = latent.transpose(1, 2).reshape(len(latent), latent.shape[2], rows, -1)
    patch = math.isqrt(latent.shape[1] // channels)
    return F.pixel_shuffle(latent, patch) if patch > 1 else latent


def _prediction(scheduler: Any) -> str:
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return "flow_prediction"
    return str(config.get("prediction_type") or "epsilon")


def _levels(scheduler: Any, timestep: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """How much signal and how much noise the sample held before the step."""
    index = getattr(scheduler, "step_index", None)
    if index and hasattr(scheduler, "sigmas"):
        sigma = torch.as_tensor(scheduler.sigmas[index - 1])
        if type(scheduler).__name__.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas"):
            return 1 - sigma, sigma
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
            return scheduler._sigma_to_alpha_sigma_t(sigma)  # type: ignore[no-any-return]
    if not hasattr(scheduler, "alphas_cumprod"):
        return None
    kept = scheduler.alphas_cumprod[int(timestep)]
    return kept**0.5, (1 - kept) ** 0.5
