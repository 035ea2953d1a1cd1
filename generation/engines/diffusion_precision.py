"""Bridges between the parts of a pipeline that calculate in different types, and the checks that all stays finite.

Pipelines hand latents to their picture decoder as they are, which fails when that was given wider numbers.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from generation.engines.errors import InvalidNumbersError
from generation.engines.fragments import Pixels
from generation.engines.precision import Numbers, require_finite

DECODERS = frozenset({"vae", "vqvae", "movq", "image_decoder"})  # names of parts
CHECK_EVERY = 4  # steps; the first and the last are always checked


def dtype_of(part: str, numbers: Numbers) -> torch.dtype:
    """What the weights of a part are read as."""
    return numbers.decoder if part in DECODERS else numbers.network


def bridge(pipeline: Any, numbers: Numbers) -> None:
    """Let latents cross between network and decoder where their types differ."""
    if numbers.decoder is numbers.network:
        return
    for vae in {id(part): part for name, part in pipeline.components.items() if name in DECODERS and part}.values():
        vae.decode = _casting(vae.decode, numbers.decoder)
        if hasattr(vae, "encode"):
            vae.encode = _narrowing(_casting(vae.encode, numbers.decoder), numbers.network)


def check_latents(tensors: dict[str, Any], step: int, steps: int) -> None:
    """After `step` (from 0) of `steps`. Raises InvalidNumbersError. The last check is the one before the decoder."""
    if step == 0 or step == steps - 1 or (step + 1) % CHECK_EVERY == 0:
        latents = tensors.get("latents")
        if isinstance(latents, torch.Tensor):
            require_finite(latents, f"latent after step {step + 1}")


def to_pixels(picture: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Floats 0..1 to bytes. Raises InvalidNumbersError; infinities the pipeline has clipped already."""
    if not np.isfinite(picture).all():
        raise InvalidNumbersError("The picture decoder gave values that are not finite.", part="decoder")
    return (picture * 255).round().astype(np.uint8)


def _casting(method: Any, dtype: torch.dtype) -> Any:
    @functools.wraps(method)
    def cast(tensor: torch.Tensor, *rest: Any, **named: Any) -> Any:
        return method(tensor.to(dtype), *rest, **named)

    return cast


def _narrowing(encode: Any, dtype: torch.dtype) -> Any:
    """The encoder's answer, as the network wants it."""

    @functools.wraps(encode)
    def narrow(*given: Any, **named: Any) -> Any:
        answer = encode(*given, **named)
        if hasattr(answer, "latent_dist"):
            answer.latent_dist = DiagonalGaussianDistribution(answer.latent_dist.parameters.to(dtype))
        elif hasattr(answer, "latents"):
            answer.latents = answer.latents.to(dtype)
        return answer

    return narrow
