"""Which numbers to calculate with, found by trying, and the check that they still are numbers.

The ladder of retries (attention, then decoder, then everything in a wider type) will live here.
"""

import torch

from generation.engines.device import Device
from generation.engines.errors import InvalidNumbersError

# fp16 attention goes black on Metal, so it is not on its list
LADDERS: dict[str, tuple[torch.dtype, ...]] = {
    "cpu": (torch.float32,),
    "cuda": (torch.bfloat16, torch.float16, torch.float32),
    "mps": (torch.bfloat16, torch.float32),
}


def works_with(device: Device, dtype: torch.dtype) -> bool:
    """Whether this type can be allocated and multiplied there, at its own speed (not emulated)."""
    if device.kind == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
        return False
    try:
        square = torch.ones(8, 8, device=device.torch, dtype=dtype)
        return float((square @ square).float().sum()) == 512.0
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):
        return False


def choose_dtype(device: Device) -> torch.dtype:
    """The cheapest type of the device's ladder that works; float32 always does."""
    return next((dtype for dtype in LADDERS[device.kind] if works_with(device, dtype)), torch.float32)


def require_finite(tensor: torch.Tensor, where: str) -> torch.Tensor:
    """Hand the tensor back. Raises InvalidNumbersError when any of it is infinite or no number."""
    if not bool(torch.isfinite(tensor).all()):
        raise InvalidNumbersError(
            f"The network gave values that are not finite ({where}).",
            hint="The checkpoint's files may be damaged, or it needs a wider number type.",
        )
    return tensor
