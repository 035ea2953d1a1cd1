"""The predicted clean latent (x0) of every step, whatever the scheduler and whatever the network predicts.

Pipelines hand out only the noisy latent; a preview of that is a preview of noise.
"""

import functools
from typing import Any

import torch

# their second value is something else than x0
MISLEADING = frozenset({"TCDScheduler"})


class CleanLatents:
    """Listens to one scheduler (one request's own) and keeps the newest clean latent in `latest`."""

    def __init__(self, scheduler: Any) -> None:
        self.latest: torch.Tensor | None = None
        told_by_step = type(scheduler).__name__ not in MISLEADING
        step = scheduler.step

        @functools.wraps(step)  # keeps the signature: pipelines look at it to see which arguments step takes
        def listen(model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *rest: Any, **named: Any) -> Any:
            result = step(model_output, timestep, sample, *rest, **named)
            told = tuple(result) if isinstance(result, tuple) else tuple(result.values())
            if len(told) > 1 and told_by_step:
                self.latest = told[1]
            else:
                self.latest = clean_latent(scheduler, model_output, timestep, sample)
            return result

        scheduler.step = listen


def clean_latent(scheduler: Any, output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> torch.Tensor:
    """x0 from the network's output and the noisy sample it was given, after `scheduler.step` has moved on."""
    kind = _prediction(scheduler)
    if kind == "sample":
        return output
    alpha, sigma = _levels(scheduler, timestep)
    alpha, sigma = alpha.to(sample), sigma.to(sample)
    if kind == "flow_prediction":
        return sample - sigma * output
    if kind == "v_prediction":
        return alpha * sample - sigma * output
    return (sample - sigma * output) / alpha


def _prediction(scheduler: Any) -> str:
    config = scheduler.config
    if type(scheduler).__name__.startswith("FlowMatch"):
        return "flow_prediction"
    return str(config.get("prediction_type") or "epsilon")


def _levels(scheduler: Any, timestep: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """How much signal and how much noise the sample held before the step."""
    index = getattr(scheduler, "step_index", None)
    if index and hasattr(scheduler, "sigmas"):
        sigma = torch.as_tensor(scheduler.sigmas[index - 1])
        if type(scheduler).__name__.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas"):
            return 1 - sigma, sigma
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
            return scheduler._sigma_to_alpha_sigma_t(sigma)  # type: ignore[no-any-return]
    kept = scheduler.alphas_cumprod[int(timestep)]
    return kept**0.5, (1 - kept) ** 0.5
