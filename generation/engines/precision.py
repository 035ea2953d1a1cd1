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


# names of plans, from narrow to wide
RUNGS: dict[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def dtype_for(device: Device, precision: str) -> torch.dtype:
    """The type that a plan's precision means; the device's best for an empty one."""
    return RUNGS[precision] if precision else choose_dtype(device)


def name_for(device: Device, precision: str) -> str:
    """The precision's name, also for an empty one."""
    dtype = dtype_for(device, precision)
    return next(name for name, known in RUNGS.items() if known is dtype)


def wider(device: Device, precision: str) -> str | None:
    """The next precision to try after this one's numbers failed; None when there is none."""
    names = list(RUNGS)
    later = names[names.index(name_for(device, precision)) + 1 :]
    return next((name for name in later if works_with(device, RUNGS[name])), None)


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
