"""Rows times weights: the one costly thing a language model does for a code, made ready once for the device it runs on.

Layers that read the same rows (queries, keys and values; gate and up) become one product. The layers' own weights are
then views of the joined ones (Plain) or empty (Packed, int8), so that nothing is held twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from generation.engines import heap

WORTH_JOINING = 8 * 1024 * 1024  # bytes up to which a product less is worth a copy more when a checkpoint is woken
FEW = 2  # rows below which oneDNN takes another kernel, with other last bits
# For how many rows the order is chosen. That for 2 is read at 20 GB/s by 2 rows and 18 by 8, this one at 22 and 20, on
# two cores of a Xeon where torch's own linear reads at 22 and 10.
ROWS = 8


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
    alone takes another kernel, so it is given a companion. torch's own linear has no such order, and is slower by far
    with few rows: 8.8 ms instead of 2.0 for two rows of 2048 and weights of 92 MB on two cores of an AMD Turin.

    Large weights stay apart: to put them side by side before they are packed is one copy more of all their bytes.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        join = sum(layer.weight.nbytes for layer in layers) <= WORTH_JOINING
        self._parts = [_packed(group) for group in ([layers] if join else [[layer] for layer in layers])]
        self.size_bytes = sum(part.size_bytes for part in self._parts)
        forget(layers)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """The same bits for a row, whatever its company."""
        alone = len(rows) == 1
        rows = rows.expand(FEW, -1).contiguous() if alone else rows
        found = [part.multiply(rows) for part in self._parts]
        result = found[0] if len(found) == 1 else torch.cat(found, dim=-1)
        return result[:1] if alone else result

    def retire(self) -> None:
        """It is not used any more: its memory is kept for who is packed next (heap.py)."""
        for part in self._parts:
            heap.shelve(part.weight, torch.ops.mkldnn.data_ptr(part.weight), part.weight_bytes)
        self._parts = []


@dataclass(slots=True)
class _Part:
    """Weights that were packed, and the biases that go with them."""

    weight: torch.Tensor
    weight_bytes: int
    bias: torch.Tensor | None

    @property
    def size_bytes(self) -> int:
        return self.weight_bytes + (0 if self.bias is None else self.bias.nbytes)

    def multiply(self, rows: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return result


def _packed(layers: Sequence[nn.Linear]) -> _Part:
    weight, bias = joined(layers)
    heap.free_for(weight.nbytes)
    return _Part(torch.ops.mkldnn._reorder_linear_weight(weight, ROWS), weight.nbytes, bias)


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


def joined(layers: Sequence[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Their weights and biases as one; those of a single layer as they are."""
    weights = [layer.weight.detach() for layer in layers]
    given = [layer._parameters["bias"] for layer in layers]
    biases = [bias.detach() for bias in given if bias is not None]
    if biases and len(biases) < len(layers):
        raise ValueError("Layers with a bias and layers without cannot be joined.")
    if len(layers) == 1:
        return weights[0], biases[0] if biases else None
    return torch.cat(weights), torch.cat(biases) if biases else None


def forget(layers: Sequence[nn.Linear]) -> None:
    """Free their weights: the product holds them now, in an order of its own."""
    for layer in layers:
        layer.weight = nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
