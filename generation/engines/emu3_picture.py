"""A picture to look at, as the codes that stand for it in a prompt of Emu3."""

import copy
from pathlib import Path

import torch
from PIL import Image
from transformers import Emu3ForConditionalGeneration, Emu3ImageProcessor
from transformers.models.emu3.image_processing_emu3 import smart_resize
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE

from generation.engines.emu3_prompt import Grid
from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.precision import require_finite
from generation.engines.reading import AGAIN
from generation.engines.source import open_picture

STEEPEST = 100  # times longer than wide, beyond which a picture is a line


class Emu3PictureReader:
    """How one checkpoint wants to be shown pictures: in their own shape, as large as its processor says and fits."""

    def __init__(self, folder: Path, network: Emu3ForConditionalGeneration) -> None:
        """Raises CheckpointError when the folder's processor is made for another network."""
        self._processor = Emu3ImageProcessor.from_pretrained(folder, local_files_only=True)
        self._factor = network.model.vqmodel.vision_spatial_factor
        if self._processor.spatial_factor != self._factor or not self._processor.do_resize:
            raise CheckpointError(f"{folder.name} prepares pictures for another network.", hint=AGAIN)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per colour."""
        return _three(self._processor.image_mean)

    @property
    def deviation(self) -> tuple[float, ...]:
        """Per colour."""
        return _three(self._processor.image_std)

    def read(self, source: bytes, room: int) -> torch.Tensor:
        """[1, 3, height, width], of at most `room` codes with their rows' ends. Raises InvalidParamsError."""
        picture = open_picture(source)
        if max(picture.size) > STEEPEST * min(picture.size):
            raise InvalidParamsError(
                f"The picture is over {STEEPEST} times longer than wide.", hint="Cut out the part that matters."
            )
        processor = self._fitting(picture, room)
        values: torch.Tensor = processor(picture, return_tensors="pt").pixel_values
        return values.reshape(1, *values.shape[-3:])

    def grid_of(self, pixels: torch.Tensor) -> Grid:
        """Rows and columns of codes."""
        return pixels.shape[-2] // self._factor, pixels.shape[-1] // self._factor

    def _fitting(self, picture: Image.Image, room: int) -> Emu3ImageProcessor:
        """The folder's own, or one for fewer pixels where the network has not enough positions."""
        processor, most = self._processor, int(self._processor.max_pixels)
        while self._places(picture, processor) > room:
            most = most * 9 // 10
            if most < self._factor**2:
                raise InvalidParamsError("This checkpoint has no room for a picture of this shape.")
            processor = copy.copy(self._processor)
            processor.max_pixels, processor.min_pixels = most, min(int(self._processor.min_pixels), most)
        return processor

    def _places(self, picture: Image.Image, processor: Emu3ImageProcessor) -> int:
        height, width = smart_resize(
            picture.height, picture.width, self._factor, processor.min_pixels, processor.max_pixels
        )
        return int(height // self._factor) * int(width // self._factor + 1)


@torch.inference_mode()
def codes_of(network: Emu3VQVAE, pixels: torch.Tensor) -> torch.Tensor:
    """[rows, columns]. The library encodes a film of four equal frames; one is encoded here, then repeated."""
    encoder = network.encoder
    features = encoder.middle_block(encoder.down_block(encoder.conv_in(pixels.to(network.device, network.dtype))))
    features = encoder.norm_out(features)
    features = encoder.conv_out(features * torch.sigmoid(features))
    film = features.unsqueeze(2).repeat(1, 1, network.config.temporal_downsample_factor, 1, 1)
    for layer in encoder.time_conv:
        film = layer(film)
        film = film * torch.sigmoid(film)
    for layer in encoder.time_res_stack:
        film = layer(film)
    film = require_finite(network.quant_conv(film), "features of the picture")
    codes: torch.Tensor = network.quantize(film.permute(0, 2, 1, 3, 4))[0, 0]
    return codes


def _three(value: float | list[float] | tuple[float, ...]) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(map(float, value))
