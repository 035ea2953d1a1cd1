"""Rows times weights: the one costly thing a language model does for a code, made ready once for the device it runs on.

Layers that read the same rows (queries, keys and values; gate and up) become one product. The layers' own weights are
then views of the joined ones (Plain) or empty (Packed, int8), so that nothing is held twice.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from generation.engines import heap

FEW = 2  # rows below which oneDNN takes another kernel, with other last bits
# For how many rows the order is chosen: that for many has longer runs, which few rows gain from as well. Two rows were
# 6 % faster than with that for 8 on two cores of a Xeon, 8 rows up to 40 %, the more the slower its memory was.
ROWS = 64


class Product(Protocol):
    """[rows, inputs] to [rows, outputs]."""

    size_bytes: int

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """What the layers would give, side by side."""

    def retire(self) -> None:
        """It is not used any more."""


Maker = Callable[[Sequence[nn.Linear]], Product]


class Plain:
    """torch's own, on any device and in any type."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._weight, self._bias = joined(layers)
        self.size_bytes = 0  # the layers own it
        first = 0
        for layer in layers:
            layer.weight = nn.Parameter(self._weight[first : first + layer.out_features], requires_grad=False)
            first += layer.out_features

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Every device's own kernel."""
        return F.linear(rows, self._weight, self._bias)

    def retire(self) -> None:
        """Its memory goes with it."""


class Packed:
    """Float32 on a CPU: the weights in the order in which oneDNN's kernels read them.

    What a row gives does not depend on the rows beside it, to the last bit, which a batch relies on; only a row quite
    alone takes another kernel, so it is given a companion. torch's own linear has no such order: with two rows it takes
    8.8 ms instead of 2.0 for weights of 92 MB on two cores of an AMD Turin, on those of a Xeon 0.95 times as long, and
    with eight rows 1.8 times.

    Fewer and larger products wait for each other less: joined ones are read 3 to 8 % faster. Weights that lie one
    behind the other, as gate and up do in a file, are joined without a copy.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        weight, self._bias = joined(layers, view=True)
        heap.free_for(weight.nbytes)
        self._weight: torch.Tensor | None = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        self._bytes = weight.nbytes
        self.size_bytes = self._bytes + (0 if self._bias is None else self._bias.nbytes)
        forget(layers)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """The same bits for a row, whatever its company."""
        alone = len(rows) == 1
        rows = rows.expand(FEW, -1).contiguous() if alone else rows
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return result[:1] if alone else result

    def retire(self) -> None:
        """It is not used any more: its memory is kept for who is packed next (heap.py)."""
        if self._weight is not None:
            heap.shelve(self._weight, torch.ops.mkldnn.data_ptr(self._weight), self._bytes)
        self._weight = None


class Asked:
    """The layers themselves, asked each time: for weights that are not always there, and are fetched when asked for."""

    size_bytes = 0

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._layers = layers

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        return torch.cat([layer(rows) for layer in self._layers], dim=-1)

    def retire(self) -> None:
        """It holds nothing."""


def maker_for(weight: torch.Tensor) -> Maker:
    """The best for weights of this type where they are."""
    if weight.device.type == "cpu" and weight.dtype is torch.float32 and packs():
        return Packed
    return Plain


def packs() -> bool:
    """Whether oneDNN is there, as torch was built and switched, and calculates right."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        layer = nn.Linear(32, 32)
        rows = torch.linspace(-1, 1, 64).view(2, 32)
        with torch.inference_mode():
            expected = layer(rows)
            return bool(torch.allclose(Packed([layer])(rows), expected, rtol=1e-4, atol=1e-5))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def joined(layers: Sequence[nn.Linear], *, view: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Their weights and biases as one; those of a single layer as they are.

    `view`: weights may be those of the layers, where they lie one behind the other; read them while the layers live.
    """
    weights = [layer.weight.detach() for layer in layers]
    given = [layer._parameters["bias"] for layer in layers]
    biases = [bias.detach() for bias in given if bias is not None]
    if biases and len(biases) < len(layers):
        raise ValueError("Layers with a bias and layers without cannot be joined.")
    if len(layers) == 1:
        return weights[0], biases[0] if biases else None
    weight = _behind_each_other(weights) if view else None
    return torch.cat(weights) if weight is None else weight, torch.cat(biases) if biases else None


def _behind_each_other(weights: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """What they are together, not copied; None where they lie otherwise. Float32 on the CPU only."""
    ends = [weight.data_ptr() + weight.nbytes for weight in weights[:-1]]
    if ends != [weight.data_ptr() for weight in weights[1:]] or not all(weight.is_contiguous() for weight in weights):
        return None
    count = sum(weight.numel() for weight in weights)
    numbers = np.ctypeslib.as_array((ctypes.c_float * count).from_address(weights[0].data_ptr()))
    return torch.from_numpy(numbers).view(-1, weights[0].shape[1])


def forget(layers: Sequence[nn.Linear]) -> None:
    """Free their weights: the product holds them now, in an order of its own."""
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
