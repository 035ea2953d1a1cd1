"""The rungs of the memory ladder for pipelines of diffusers: slices, tiles, one row at a time, parts that take turns.

Offloading is our own (`weights`, `turns`), not the library's: that one moves to and from a second device only, so it
does nothing on a CPU, where mapped weights can be given back.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.models.attention import FeedForward

from generation.engines.device import Device
from generation.engines.diffusion_precision import dtype_of
from generation.engines.plan import MemoryRung, Plan
from generation.engines.precision import Numbers
from generation.engines.weights import Weights

TILE = 512  # pixels of an edge of a tile
SLICES = 8
DENOISERS = ("unet", "transformer")
ROW_SPLIT = ("UNet2DConditionModel", "SD3Transformer2DModel")  # of these every input is known to have a batch in front


def rungs_of(pipeline: Any) -> tuple[MemoryRung, ...]:
    """Those that make a difference to it."""
    denoiser, decoder = _denoiser(pipeline), getattr(pipeline, "vae", None)
    rungs: list[MemoryRung] = ["whole"]
    rungs += ["sliced"] if _feed_forwards(denoiser) else []
    rungs += ["tiled"] if _tiles(decoder) else []
    rungs += ["single"] if type(denoiser).__name__ in ROW_SPLIT else []
    return (*rungs, "components", "sequential")


def weights_of(pipeline: Any, device: Device, numbers: Numbers) -> Weights:
    """Of all networks of a pipeline that was just read."""
    parts = {name: [part] for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return Weights.of(device, parts, {name: dtype_of(name, numbers) for name in parts})


def spare(pipeline: Any, weights: Weights, before: Plan, plan: Plan) -> None:
    """Draw by this plan from now on instead of the one before. Also for a pipeline that shares its networks."""
    denoiser, decoder, rungs = _denoiser(pipeline), getattr(pipeline, "vae", None), rungs_of(pipeline)
    if "sliced" in rungs and before.uses("sliced") != plan.uses("sliced"):
        _slice(denoiser, weights.device, on=plan.uses("sliced"))
    if "tiled" in rungs and before.uses("tiled") != plan.uses("tiled"):
        _tile(decoder, on=plan.uses("tiled"))
    if "single" in rungs and before.uses("single") != plan.uses("single"):
        _split_rows(denoiser, on=plan.uses("single"))
    if before.memory != plan.memory:
        weights.arrange(plan.memory)


def _denoiser(pipeline: Any) -> Any:
    return next((part for name in DENOISERS if (part := getattr(pipeline, name, None)) is not None), None)


def _feed_forwards(denoiser: Any) -> list[FeedForward]:
    """The widest layers there are: several times as wide as what goes in and comes out."""
    return [part for part in denoiser.modules() if isinstance(part, FeedForward)] if denoiser is not None else []


def _slice(denoiser: Any, device: Device, *, on: bool) -> None:
    """The wide layers piece by piece. Attention too where it is written out in full: elsewhere its slices cost more."""
    for part in _feed_forwards(denoiser):
        part.__dict__.pop("forward", None)
        if on:
            part.forward = _in_slices(part)
    if device.kind == "mps" and hasattr(denoiser, "set_attention_slice"):
        denoiser.set_attention_slice("max" if on else None)


def _in_slices(part: FeedForward) -> Callable[..., torch.Tensor]:
    def forward(hidden: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        pieces = torch.split(hidden, max(-(-hidden.shape[-2] // SLICES), 1), dim=-2)
        return torch.cat([FeedForward.forward(part, piece, *rest, **named) for piece in pieces], dim=-2)

    return forward


def _tiles(decoder: Any) -> bool:
    """Whether it works on tiles. An AutoencoderTiny takes its scale for 8, whatever it is, and is wrong elsewhere."""
    if isinstance(decoder, AutoencoderTiny):
        return bool(2 ** (len(decoder.config.decoder_block_out_channels) - 1) == decoder.spatial_scale_factor)
    return hasattr(decoder, "use_tiling")


def _tile(decoder: Any, *, on: bool) -> None:
    """Tiles no larger than TILE: large decoders would otherwise take the size they were trained at for one tile."""
    decoder.use_tiling = on
    pixels, latents = getattr(decoder, "tile_sample_min_size", None), getattr(decoder, "tile_latent_min_size", None)
    if on and isinstance(pixels, int) and isinstance(latents, int) and pixels > TILE:
        decoder.tile_sample_min_size, decoder.tile_latent_min_size = TILE, max(latents * TILE // pixels, 1)


def _split_rows(denoiser: Any, *, on: bool) -> None:
    """Run the rows of a batch (with the words, without them) one after the other."""
    if not on:
        denoiser.__dict__.pop("forward", None)
        return
    whole: Callable[..., Any] = type(denoiser).forward

    def forward(sample: torch.Tensor | None = None, *rest: Any, **named: Any) -> Any:
        first = sample if sample is not None else named["hidden_states"]
        rows = len(first)
        if rows == 1:
            return whole(denoiser, sample, *rest, **named) if sample is not None else whole(denoiser, **named)
        answers = []
        for row in range(rows):
            own = [_row(value, row, rows) for value in ([] if sample is None else [sample, *rest])]
            answers.append(whole(denoiser, *own, **{name: _row(value, row, rows) for name, value in named.items()}))
        if isinstance(answers[0], tuple):
            return (torch.cat([answer[0] for answer in answers]),)
        return type(answers[0])(sample=torch.cat([answer.sample for answer in answers]))

    denoiser.forward = forward


def _row(value: Any, row: int, rows: int) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows:
        return value[row : row + 1]
    if isinstance(value, dict):
        return {name: _row(one, row, rows) for name, one in value.items()}
    return value
