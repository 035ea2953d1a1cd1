"""Which devices have the files of which checkpoints, as they told. Reads only.

On one machine this decides nothing: what is missing there fails with its own reason, as it always did.
"""

import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from generation.models import Checkpoint, Device

NEW = timedelta(minutes=1)
Usable = dict[uuid.UUID, frozenset[str] | None]


def usable_on(devices: Iterable[Device]) -> Usable:
    """Names of the checkpoints that each of these can draw with; None is all. At most one query.

    A device that is alone, or has not told, may try all.
    """
    told = [one for one in devices if one.present is not None and is_known(one)]
    if len(told) < 2:
        return {}
    enabled = _enabled()
    return {one.pk: frozenset(name for name, sha256 in enabled if one.holds(name, sha256)) for one in told}


def others_hold(device: Device, checkpoint: Checkpoint) -> bool:
    """Whether another device told that it has the very same files."""
    others = [one for one in _known() if one.pk != device.pk and one.present is not None]
    return any(one.holds(checkpoint.name, checkpoint.sha256) for one in others)


def others_held(device: Device, checkpoint: Checkpoint) -> bool:
    """Whether another device ever told that it has the very same files, however long it has been silent."""
    others = Device.objects.exclude(pk=device.pk).filter(present__isnull=False)
    return any(one.holds(checkpoint.name, checkpoint.sha256) for one in others)


def is_nowhere(checkpoint: Checkpoint) -> bool:
    """Whether every device that is alive or may come back told that it has other files, or none.

    Not of one that was added just now: devices look every few seconds.
    """
    known = _known()
    if not known or timezone.now() - checkpoint.created_at < NEW:
        return False
    return not any(one.holds(checkpoint.name, checkpoint.sha256) for one in known)


def held_by_nobody() -> list[str]:
    """Names of checkpoints that none of several devices has, though all have told."""
    known = _known()
    usable = usable_on(known)
    if len(known) < 2 or len(usable) < len(known):
        return []
    found = frozenset[str]().union(*(names or () for names in usable.values()))
    return [name for name, _ in _enabled() if name not in found]


def is_known(device: Device) -> bool:
    """Alive, or may come back: one silent for GONE_MINUTES is not waited for. One that starts has no heartbeat yet."""
    if device.heartbeat_at is None:
        return bool(device.host)  # served before
    return timezone.now() - device.heartbeat_at < timedelta(minutes=settings.GONE_MINUTES)


def _known() -> list[Device]:
    return [one for one in Device.objects.all() if is_known(one)]


def _enabled() -> list[tuple[str, str]]:
    return list(Checkpoint.objects.filter(enabled=True).values_list("name", "sha256"))
