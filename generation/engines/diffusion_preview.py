"""Small pictures of a latent that is still being drawn: by the checkpoint's own decoder where that is tiny, else by a
linear map from latent channels to colours, which costs next to nothing and has one pixel per latent place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny

from generation.engines.errors import CheckpointError
from generation.engines.fragments import Pixels
from generation.engines.reading import read_json

PREVIEW_FILE = "preview.json"
Decode = Callable[[torch.Tensor], torch.Tensor]


class Previewer:
    """Latents [1, channels, height, width], as the scheduler sees them, to pixels."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode

    @classmethod
    def of(cls, pipeline: Any, folder: Path, decode: Decode | None = None) -> "Previewer":
        """The tiny decoder, the map in the folder's preview.json, or one fitted to the decoder now.

        `decode`: how the pipeline itself decodes, where that is not the usual way.
        """
        decode = decode or decoder_of(pipeline.vae)
        if isinstance(pipeline.vae, AutoencoderTiny):
            return cls(decode)
        if (folder / PREVIEW_FILE).is_file():
            return cls(_linear(*_read_map(folder / PREVIEW_FILE, int(pipeline.vae.config.latent_channels))))
        return cls(_linear(*fit_map(decode, pipeline.vae)))

    @torch.inference_mode()
    def pixels(self, latent: torch.Tensor) -> Pixels:
        """uint8 [height, width, 3], the size of the picture (tiny decoder) or of the latent (linear map)."""
        colours = self._decode(latent)[0].float().clamp(0, 1)
        return (colours * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def decoder_of(vae: Any) -> Decode:
    """Latents as the scheduler sees them to colours 0..1; the latent's offset and scale are the decoder's own."""
    scale, shift = vae.config.scaling_factor, vae.config.get("shift_factor") or 0.0

    def decode(latent: torch.Tensor) -> torch.Tensor:
        picture: torch.Tensor = vae.decode((latent / scale + shift).to(vae.dtype), return_dict=False)[0]
        return picture / 2 + 0.5

    return decode


@torch.inference_mode()
def fit_map(decode: Decode, vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear map that comes closest to the decoder, by least squares over smooth random latents."""
    channels = int(vae.config.latent_channels)
    noise = torch.randn(8, channels, 4, 4, generator=torch.Generator("cpu").manual_seed(0))
    latents = F.interpolate(noise, scale_factor=2, mode="bilinear").to(vae.device)
    pictures = decode(latents).float()
    colours = F.adaptive_avg_pool2d(pictures, (8, 8)).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
    inputs = latents.permute(0, 2, 3, 1).reshape(-1, channels).cpu()
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, colours.nan_to_num(0.5)).solution
    return solution[:-1], solution[-1]


def _linear(matrix: torch.Tensor, bias: torch.Tensor) -> Decode:
    def decode(latent: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,cr->brhw", latent.float().cpu(), matrix) + bias.view(1, 3, 1, 1)

    return decode


def _read_map(file: Path, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    values = read_json(file)
    try:
        matrix = torch.tensor(values["matrix"], dtype=torch.float32).reshape(channels, 3)
        bias = torch.tensor(values["bias"], dtype=torch.float32).reshape(3)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{file.parent.name}/{file.name} is no map from {channels} latent channels to colours.", hint="Remove it."
        ) from error
    return matrix, bias
