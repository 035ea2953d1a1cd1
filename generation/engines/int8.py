"""Weights in eight bits, an operator's choice: a quarter of the memory to read for each code, so far faster on a CPU.

A scale for every output of the weights, and one for every row of what they are multiplied with, found anew each time;
sums are exact integers, so a row's result does not depend on the rows beside it. Only on a CPU, by oneDNN; checked on
one with VNNI (AVX-512), and where it gives wrong sums it is not used.
"""

from collections.abc import Sequence

import torch
from torch import nn

from generation.engines.products import forget, joined

INT8 = "int8"  # the name of this precision in plans; beside these weights all is float32
MOST = 127  # of a signed byte, both ways
ZERO = 128  # rows are unsigned bytes around this: oneDNN has no fast way for signed ones here
LEAST = 1e-12  # scale of a row of nothing
TOLERANCE = 0.03  # of the sums' size, for the trial


class Int8Product:
    """Layers as one product with weights of eight bits."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        weight, self._bias = joined(layers)
        self._scales = (weight.abs().amax(1) / MOST).clamp_min(LEAST)
        bytes_ = (weight / self._scales.unsqueeze(1)).round().to(torch.int8)
        self._zeros = torch.zeros(len(weight), dtype=torch.int)
        self._weight = torch.ops.onednn.qlinear_prepack(bytes_, [2, weight.shape[1]])
        self.size_bytes = bytes_.nbytes + self._scales.nbytes + (0 if self._bias is None else self._bias.nbytes)
        forget(layers)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Close to what the layers would give."""
        scales = (rows.abs().amax(1, keepdim=True) / MOST).clamp_min_(LEAST)
        given = (rows / scales).round_().add_(ZERO).to(torch.uint8)
        result: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            given, 1.0, ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        result = result.mul_(scales)
        return result if self._bias is None else result.add_(self._bias)

    def retire(self) -> None:
        """Its memory goes with it."""


def works_in_int8() -> bool:
    """Whether this machine's CPU and torch have it, and sum right."""
    layer = nn.Linear(256, 64)
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(2, 256, generator=generator) * 4
    with torch.inference_mode():
        layer.weight = nn.Parameter(torch.randn(64, 256, generator=generator))
        expected = layer(rows)
        try:
            found = Int8Product([layer])(rows)
        except (RuntimeError, AttributeError, NotImplementedError):
            return False
    return float((found - expected).abs().mean()) <= TOLERANCE * float(expected.abs().mean())
