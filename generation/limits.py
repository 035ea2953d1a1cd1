"""What a device may use of memory: the settings, and what an operator chose for it instead. Reads only."""

from django.conf import settings

from generation.engines.limits import Limits
from generation.models import Device

MEGABYTE = 1_000_000
MINUTE = 60.0


def limit_of(device: Device | None, name: str) -> int:
    """One of `Device.LIMITS`: what its row says, else the setting of the same name."""
    own = getattr(device, name) if device is not None else None
    return int(getattr(settings, name.upper()) if own is None else own)


def limits_of(device: Device | None = None) -> Limits:
    """For its engine room."""
    return Limits(
        budget=limit_of(device, "memory_budget_mb") * MEGABYTE,
        reserve=limit_of(device, "memory_reserve_mb") * MEGABYTE,
        warm=limit_of(device, "warm_budget_mb") * MEGABYTE,
        most=limit_of(device, "most_loaded"),
        idle_seconds=limit_of(device, "idle_minutes") * MINUTE,
    )
