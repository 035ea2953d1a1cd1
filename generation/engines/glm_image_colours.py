"""What colour a picture code stands for, roughly: measured on the checkpoint itself, so that codes can be shown early.

Nothing turns codes into pixels but the whole diffusion part. So the checkpoint is shown made-up fields of colour, whose
codes it says itself; a linear map from its codebook to the colours that it was shown comes closest by least squares.
One colour for 32 x 32 pixels: where things are and about how they are coloured, never what they are. The map is tried
on a field that it was not fitted to. Where it says too little, no codes are shown rather than wrong ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import GlmImageForConditionalGeneration

from generation.engines.fragments import Pixels
from generation.engines.glm_image_prompt import Grid
from generation.engines.precision import require_finite

FIELDS = (2, 4, 8, 16, 4, 8)  # cells a side, from large to small; the last field is not fitted to but tried on
EDGE = 512  # pixels of a field
RIDGE = 1e-3  # of the codebook's own spread: hundreds of places cannot settle a map of thousands of channels
LEAST_TOLD = 0.3  # share of the colours' spread, on the field that is tried


@dataclass(frozen=True, slots=True, eq=False)
class CodeColours:
    """`table` [codes, 3] in 0..1. `told`: the share of the spread of colours that the map explains; 1 is all of it."""

    table: torch.Tensor
    told: float

    @property
    def is_worth_showing(self) -> bool:
        """Whether it says enough about this checkpoint's codes."""
        return self.told >= LEAST_TOLD

    @classmethod
    @torch.inference_mode()
    def measure(cls, network: GlmImageForConditionalGeneration, pictures: Any) -> Self:
        """`pictures`: the checkpoint's own image processor."""
        random = np.random.default_rng(0)
        shown = [_codes_of(network, pictures, _field(random, cells)) for cells in FIELDS]
        # awake still, where parts take turns: it works right before, and with the part around it
        book = require_finite(network.model.vqmodel.quantize.embedding.weight.float().cpu(), "codebook")
        book = F.normalize(book, dim=-1)
        codes, colours = (torch.cat(part) for part in zip(*shown[:-1], strict=True))
        table = _fitted(book, codes, colours)
        codes, colours = shown[-1]
        missed = (table[codes] - colours).square().sum() / (colours - colours.mean(0)).square().sum()
        return cls(table, float(1 - missed))

    def pixels(self, codes: Sequence[int], grid: Grid) -> Pixels:
        """uint8 [rows, columns, 3] of a whole grid."""
        colours = (self.table[torch.tensor(codes)] * 255).round().to(torch.uint8)
        return colours.reshape(*grid, 3).numpy()


def _field(random: np.random.Generator, cells: int) -> Image.Image:
    """Colours that flow into each other."""
    colours = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((EDGE, EDGE), Image.Resampling.BICUBIC)


def _codes_of(
    network: GlmImageForConditionalGeneration, pictures: Any, field: Image.Image
) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes of a field, and the mean colour 0..1 under each."""
    read = pictures(images=[field], return_tensors="pt")
    grid = read["image_grid_thw"].to(network.device)
    pixels = read["pixel_values"].to(network.device, network.dtype)
    features = network.get_image_features(pixels, grid, return_dict=True).pooler_output
    _, rows, columns = grid[0].tolist()
    means = np.asarray(field.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32) / 255
    return network.get_image_tokens(features).cpu(), torch.from_numpy(means.reshape(-1, 3))


def _fitted(book: torch.Tensor, codes: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """[codes, 3]: the ridge regression from the codebook's vectors to colours, for every code."""
    places = book[codes].double()
    middle, mean = places.mean(0), colours.double().mean(0)
    spread = places - middle
    squares = spread.T @ spread
    squares += torch.eye(len(squares)) * (RIDGE * squares.trace() + 1e-9)
    matrix: torch.Tensor = torch.linalg.solve(squares, spread.T @ (colours.double() - mean))
    table = mean + (book.double() - middle) @ matrix
    return table.clamp(0, 1).nan_to_num(0.5).float()
