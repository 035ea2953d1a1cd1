"""Small pictures of a latent that is still being drawn: by the checkpoint's own decoder where that is tiny, else by a
linear map from latent channels to colours, which costs next to nothing and has one pixel per latent place."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny

from generation.engines.device import is_out_of_memory
from generation.engines.diffusion_latents import unpacked
from generation.engines.errors import CheckpointError
from generation.engines.fragments import Pixels
from generation.engines.reading import read_json

logger = logging.getLogger(__name__)

PREVIEW_FILE = "preview.json"
UNSHIFTED = frozenset({"Kandinsky5T2IPipeline"})  # these leave out the decoder's shift
# of a latent that a tiny decoder gets to see: that of Stable Diffusion would take a tenth of a step for all of 64x64
MOST_PLACES = 32 * 32
Decode = Callable[[torch.Tensor], torch.Tensor]


class Previewer:
    """Latents, as the scheduler sees them, to pixels. `channels`: of one place, when latents may come packed."""

    def __init__(self, decode: Decode, channels: int = 0) -> None:
        self._decode = decode
        self._channels = channels

    @classmethod
    def of(cls, pipeline: Any, folder: Path, decode: Decode | None = None) -> "Previewer | None":
        """The tiny decoder, the map in the folder's preview.json, or one fitted to the decoder now; None for a latent
        that no map can be fitted to: the picture is drawn without previews then.

        `decode`: how the pipeline itself decodes, where that is not the usual way.
        """
        vae, decode = pipeline.vae, decode or decoder_of(pipeline)
        channels = channels_of(vae)
        if isinstance(vae, AutoencoderTiny):
            return cls(lambda latent: decode(_fewer(latent)), channels)
        if (folder / PREVIEW_FILE).is_file():
            return cls(linear_map(*_read_map(folder / PREVIEW_FILE, channels)), channels)
        try:
            return cls(linear_map(*fit_map(decode, channels, vae.device)), channels)
        except Exception as error:  # noqa: BLE001 a preview is never worth a picture
            if is_out_of_memory(error):
                raise
            logger.warning("No previews for %s", type(vae).__name__, exc_info=True)
            return None

    @torch.inference_mode()
    def pixels(self, latent: torch.Tensor, width: int = 1, height: int = 1) -> Pixels:
        """uint8 [height, width, 3]: as large as the latent (linear map), or as a picture of MOST_PLACES (tiny decoder).

        A latent in one row is folded to the shape of `width` x `height`.
        """
        opened = unpacked(latent, self._channels, width, height) if self._channels else latent
        colours = self._decode(opened)[0].float().clamp(0, 1)
        return (colours * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _fewer(latent: torch.Tensor) -> torch.Tensor:
    """Of at most MOST_PLACES, in the same shape."""
    rows, columns = latent.shape[-2:]
    shrink = math.sqrt(MOST_PLACES / (rows * columns))
    if shrink >= 1:
        return latent
    return F.interpolate(latent, size=(max(1, int(rows * shrink)), max(1, int(columns * shrink))), mode="area")


def channels_of(vae: Any) -> int:
    """Of one latent place."""
    return int(vae.config.get("latent_channels") or vae.config.z_dim)


def decoder_of(pipeline: Any) -> Decode:
    """Latents as the scheduler sees them, unpacked, to colours 0..1; each decoder has its own way to undo the scale."""
    vae = pipeline.vae
    opened = _opening(vae, shifted=type(pipeline).__name__ not in UNSHIFTED)

    def decode(latent: torch.Tensor) -> torch.Tensor:
        picture: torch.Tensor = vae.decode(opened(latent).to(vae.dtype), return_dict=False)[0]
        return (picture if picture.ndim == 4 else picture[:, :, 0]) / 2 + 0.5

    return decode


def _opening(vae: Any, *, shifted: bool) -> Decode:
    """From the scheduler's latent to the decoder's."""
    config = vae.config
    scale, shift = config.get("scaling_factor") or 1.0, shifted * (config.get("shift_factor") or 0.0)
    if hasattr(vae, "bn"):  # FLUX.2: four neighbours are normalised as one
        return lambda latent: _denormalised(latent, vae.bn.running_mean, vae.bn.running_var + config.batch_norm_eps)
    if not config.get("latents_mean"):
        return lambda latent: latent / scale + shift
    mean, spread = (torch.tensor(config[name]).view(1, -1, 1, 1) for name in ("latents_mean", "latents_std"))
    if config.get("latent_channels"):
        return lambda latent: latent * spread.to(latent) / scale + mean.to(latent)
    return lambda latent: (latent * spread.to(latent) + mean.to(latent)).unsqueeze(2)  # decoders of films: one frame


def _denormalised(latent: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    folded = F.pixel_unshuffle(latent, 2)
    opened = folded * variance.sqrt().view(1, -1, 1, 1).to(folded) + mean.view(1, -1, 1, 1).to(folded)
    return F.pixel_shuffle(opened, 2)


@torch.inference_mode()
def fit_map(decode: Decode, channels: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear map that comes closest to the decoder, by least squares over smooth random latents."""
    noise = torch.randn(8, channels, 4, 4, generator=torch.Generator("cpu").manual_seed(0))
    latents = F.interpolate(noise, scale_factor=2, mode="bilinear").to(device)
    pictures = decode(latents).float()
    colours = F.adaptive_avg_pool2d(pictures, (8, 8)).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
    inputs = latents.permute(0, 2, 3, 1).reshape(-1, channels).cpu()
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, colours.nan_to_num(0.5)).solution
    return solution[:-1], solution[-1]


def linear_map(matrix: torch.Tensor, bias: torch.Tensor) -> Decode:
    """Latents to colours by [channels, 3] and [3]."""

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
