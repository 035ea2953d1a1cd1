"""How rooms are run here: by the settings, and by what an operator chose for a device."""

from dataclasses import replace
from typing import Any

from django.conf import settings

from generation.engines.client import RoomSettings
from generation.limits import MEGABYTE, limit_of, limits_of
from generation.models import Device


def settings_of(device: Device | None = None, **changes: Any) -> RoomSettings:
    """For a room on this device; without one by the settings alone."""
    found = RoomSettings(
        device=settings.DEVICE,
        threads=settings.THREADS,
        nice=settings.ROOM_NICE,
        stall_seconds=settings.STALL_SECONDS,
        load_seconds=settings.LOAD_SECONDS,
        log_level=settings.LOG_LEVEL,
        limits=limits_of(device),
        recycle_after=limit_of(device, "recycle_after"),
        creep_limit=limit_of(device, "creep_limit_mb") * MEGABYTE,
    )
    return replace(found, **changes)
