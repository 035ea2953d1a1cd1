"""From picture codes to the picture: the diffusion part of GLM-Image, shown as it gets sharper."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from generation.engines.aside import Emit, iterate_aside
from generation.engines.base import CancelToken
from generation.engines.diffusion_latents import CleanLatents
from generation.engines.diffusion_precision import check_latents, to_pixels
from generation.engines.diffusion_preview import Decode, Previewer
from generation.engines.diffusion_schedule import fresh_scheduler
from generation.engines.fragments import Fragment, Step
from generation.engines.glm_image_progress import Progress
from generation.engines.glm_image_prompt import Asked, Grid
from generation.engines.precision import Numbers, attention_in

MOST_PREVIEWS = 16
FINER = 2  # places of the diffusion part a side of one code
LONGEST_QUOTE = 2048  # bytes of one text to be written in the picture that the glyph encoder reads


@dataclass(frozen=True, slots=True)
class Refining:
    """What one wish tells the diffusion part. `picture` and `seen`: the one to edit and its codes."""

    prompt: str
    guidance: float
    asked: Asked
    picture: Image.Image | None
    seen: torch.Tensor | None

    def arguments(self, codes: Sequence[int], progress: Progress) -> dict[str, Any]:
        """What the pipeline is called with, but for the seed."""
        width, height = progress.size
        given = {
            "prompt": self.prompt,
            "width": width,
            "height": height,
            "num_inference_steps": progress.rounds,
            "guidance_scale": self.guidance,
            "prior_token_ids": finer(torch.tensor(codes[self.asked.lead :]), self.asked.whole).unsqueeze(0),
        }
        if self.picture is None or self.seen is None or self.asked.seen is None:
            return given
        rows, columns = self.asked.seen
        return {
            **given,
            "image": [self.picture],
            "prior_token_image_ids": [finer(self.seen, self.asked.seen)],
            "source_image_grid_thw": [torch.tensor([[1, rows * FINER, columns * FINER]])],
        }


def finer(codes: torch.Tensor, grid: Grid) -> torch.Tensor:
    """[places]: each code for the places of the diffusion part that lie below it."""
    return codes.reshape(grid).repeat_interleave(FINER, 0).repeat_interleave(FINER, 1).flatten()


class Refiner:
    """The diffusion part of one checkpoint, in its numbers."""

    def __init__(self, pipeline: Any, numbers: Numbers, previewer: Previewer | None) -> None:
        self._pipeline = pipeline
        self._scheduler = pipeline.scheduler
        self._numbers = numbers
        self._previewer = previewer

    def run(
        self, arguments: dict[str, Any], generator: torch.Generator, progress: Progress, cancel: CancelToken
    ) -> Iterator[Fragment | Step]:
        """Previews, then the final. The scheduler is its own: it has state, and it is listened to."""
        pipeline, previewer = self._pipeline, self._previewer
        pipeline.scheduler = fresh_scheduler(self._scheduler, None, generator)
        clean = CleanLatents(pipeline.scheduler)
        given = {name: _there(value, pipeline.transformer.device) for name, value in arguments.items()}

        def work(emit: Emit[Fragment | Step]) -> None:
            def round_ends(_: Any, done: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
                cancel.raise_if_canceled()
                check_latents(tensors, done, progress.rounds)
                at = progress.refined(done + 1)
                emit(at)
                if previewer is not None and _is_shown(done, progress.rounds) and clean.latest is not None:
                    emit(progress.preview(previewer.pixels(clean.latest), at))
                return tensors

            with attention_in(self._numbers):
                drawn = pipeline(**given, generator=generator, output_type="np", callback_on_step_end=round_ends)
            emit(progress.final(to_pixels(drawn.images[0])))

        yield from iterate_aside(work)


def decoder_of(vae: Any) -> Decode:
    """Latents as the scheduler sees them to colours 0..1: each channel has its own offset and scale."""
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1)
    scale = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1)

    def decode(latent: torch.Tensor) -> torch.Tensor:
        shifted = latent.to(vae.device, vae.dtype) * scale.to(vae.device, vae.dtype) + mean.to(vae.device, vae.dtype)
        picture: torch.Tensor = vae.decode(shifted, return_dict=False)[0]
        return picture / 2 + 0.5

    return decode


def _there(value: Any, device: torch.device) -> Any:
    """Tensors, alone or in a list, on the device of the diffusion part."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_there(item, device) for item in value] if isinstance(value, list) else value


def _is_shown(done: int, rounds: int) -> bool:
    """Every round of few, MOST_PREVIEWS spread evenly over many, the last one always."""
    shown = min(rounds, MOST_PREVIEWS)
    return (done + 1) * shown // rounds > done * shown // rounds


def has_long_quotes(pipeline: Any, prompt: str) -> bool:
    """Whether a text to be written in the picture is longer than the glyph encoder reads."""
    [quotes] = pipeline.get_glyph_texts(prompt)
    return any(len(quote.encode("utf-8")) >= LONGEST_QUOTE for quote in quotes)
