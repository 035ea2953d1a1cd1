"""Which numbers to calculate with, found by trying, and the check that they still are numbers.

A rung is a name that plans carry. Rungs of narrow types widen part by part, because whole networks in wide numbers cost
twice the memory: attention first (fp16 attention turns black on Metal from macOS 14.5 on), then the picture decoder
(that of SDXL overflows in fp16), then everything in bf16, which has fp32's range, then fp32.
"""

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from generation.engines.device import Device
from generation.engines.errors import InvalidNumbersError, Part

HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
TOLERANCE = {HALF: 0.02, BRAIN: 0.1, FULL: 1e-3}  # of the probe's result against float32 on the CPU


@dataclass(frozen=True, slots=True)
class Numbers:
    """The types of a network's parts. `attention` is what attention calculates in, whatever the weights are."""

    network: torch.dtype
    attention: torch.dtype
    decoder: torch.dtype

    def widens(self, other: "Numbers", part: Part) -> bool:
        """Whether this could mend what failed there in `other`."""
        if part == "decoder":
            return self.decoder is not other.decoder
        return (self.network, self.attention) != (other.network, other.attention)


# from narrow to wide
RUNGS: dict[str, Numbers] = {
    "fp16": Numbers(HALF, HALF, HALF),
    "fp16-attention-fp32": Numbers(HALF, FULL, HALF),
    "fp16-attention-decoder-fp32": Numbers(HALF, FULL, FULL),
    "bf16": Numbers(BRAIN, BRAIN, BRAIN),
    "bf16-decoder-fp32": Numbers(BRAIN, BRAIN, FULL),
    "fp32": Numbers(FULL, FULL, FULL),
}
# where each device begins: the first that works. On a CPU narrow types save memory and cost time, so nobody gets them
# who has not asked; fp16 on Metal is not begun with because its attention goes black there.
BEST: dict[str, tuple[str, ...]] = {
    "cpu": ("fp32",),
    "cuda": ("bf16", "fp16", "fp32"),
    "mps": ("bf16", "fp32"),
}


def choose(device: Device) -> str:
    """The rung to begin with: the device's first that works; fp32 always does."""
    return next((name for name in BEST[device.kind] if works(device, name)), "fp32")


def numbers_for(device: Device, rung: str) -> Numbers:
    """What a plan's precision means; the device's best for an empty one. Raises InvalidNumbersError for one unknown."""
    name = name_for(device, rung)
    if name not in RUNGS:
        raise InvalidNumbersError(f"There is no precision '{rung}'.", hint=f"Known are {', '.join(RUNGS)}.")
    return RUNGS[name]


def name_for(device: Device, rung: str) -> str:
    """The rung's name, also for an empty one."""
    return rung or choose(device)


def wider(device: Device, rung: str, part: Part = "network") -> str | None:
    """The next rung that works here and widens the part whose numbers failed; None when there is none."""
    if rung not in RUNGS:  # an operator's own choice, such as whole numbers: full width is the cure
        return "fp32"
    names = list(RUNGS)
    later = names[names.index(rung) + 1 :]
    return next((name for name in later if RUNGS[name].widens(RUNGS[rung], part) and works(device, name)), None)


def works(device: Device, rung: str) -> bool:
    """Whether the rung's types work there, at their own speed (not emulated), for what the families are made of."""
    numbers = RUNGS[rung]
    return all(works_with(device, dtype) for dtype in {numbers.network, numbers.attention, numbers.decoder})


@functools.lru_cache(maxsize=32)
def _probe(kind: str, dtype: torch.dtype) -> bool:
    """A product of matrices, a convolution, a norm and attention, against the same in float32 on the CPU."""
    expected = _calculate(torch.device("cpu"), FULL)
    try:
        found = _calculate(torch.device(kind), dtype)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        return False
    return bool(torch.isfinite(found).all()) and float((found - expected).abs().max()) < TOLERANCE[dtype]


def works_with(device: Device, dtype: torch.dtype) -> bool:
    """Whether a small calculation in this type comes out right there. A version number would be a guess."""
    if device.kind == "cuda" and dtype is BRAIN and not torch.cuda.is_bf16_supported(False):
        return False
    return _probe(device.kind, dtype)


@torch.inference_mode()
def _calculate(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    seen = F.group_norm(F.conv2d(random(1, 8, 8, 8), random(8, 8, 3, 3) / 8, padding=1), 4)
    rows = seen.flatten(2).transpose(1, 2).reshape(1, 2, 32, 8)
    mixed = F.scaled_dot_product_attention(rows, rows.flip(2), rows)
    return F.linear(F.layer_norm(mixed, (8,)), random(8, 8) / 8).float().cpu()


class _WideAttention(TorchFunctionMode):
    """Calculates attention in another type than its operands have, and hands back what they had."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        before = next(value.dtype for value in [*args, *kwargs.values()] if isinstance(value, torch.Tensor))
        widened = [self._widen(value) for value in args]
        return func(*widened, **{name: self._widen(value) for name, value in kwargs.items()}).to(before)

    def _widen(self, value: Any) -> Any:
        return value.to(self._dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@contextmanager
def attention_in(numbers: Numbers) -> Iterator[None]:
    """Around drawing, in the thread that draws: attention calculates in the rung's type."""
    if numbers.attention is numbers.network:
        yield
        return
    with _WideAttention(numbers.attention):
        yield


def require_finite(tensor: torch.Tensor, where: str, part: Part = "network") -> torch.Tensor:
    """Hand the tensor back. Raises InvalidNumbersError when any of it is infinite or no number.

    One value that is not finite makes the sum so: one quick pass. A sum may overflow by itself, so it only suspects.
    """
    if not math.isfinite(tensor.sum()) and not bool(torch.isfinite(tensor).all()):
        raise InvalidNumbersError(
            f"The network gave values that are not finite ({where}).",
            hint="The checkpoint's files may be damaged, or it needs a wider number type.",
            part=part,
        )
    return tensor
