"""Devices: the heartbeat of their worker, and what operators ask of them."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.services import audit_record
from core.errors import TesseraError
from generation.checks import machines_tell
from generation.engines.protocol import RoomStatus
from generation.models import Checkpoint, Device, DeviceCommand, GenerationRequest
from generation.services.announcements import places_announce
from generation.services.bell import ring
from generation.software import host_name, instance, key_mark, software_version

logger = logging.getLogger(__name__)

UNREADABLE = "unreadable"  # in the place of the sum of files that cannot be used
CLAIM_SECONDS = 30.0  # from a claim until the first beat of the worker, on a slow machine


def device_ensure(*, name: str = "") -> Device:
    """The row of the device that this cluster serves: TESSERA_DEVICE_NAME."""
    return Device.objects.get_or_create(name=name or settings.DEVICE_NAME)[0]


def device_beat(*, device: Device, worker_pid: int, status: RoomStatus | None, drawing: object = None) -> bool:
    """The worker lives, and this is what its room last told.

    False when the device is served from another data folder by now, or was deleted: then nothing is written.
    """
    values: dict[str, object] = {
        "heartbeat_at": timezone.now(),
        "worker_pid": worker_pid,
        "room_pid": status.pid if status else None,
        "resident": [{"name": name, "bytes": size} for name, size in status.resident] if status else [],
        "memory_used": status.memory_used if status else 0,
        "drawing": drawing,
    }
    if status is not None:
        values |= {"kind": status.device[:10], "memory_total": status.memory_total, "ledger": status.ledger}
    return bool(_ours(device).update(**values))


@transaction.atomic
def device_opens(*, device: Device, problem: str) -> None:
    """Why its engine room does not open, or nothing when it does. Who waits reads when that changes."""
    if Device.objects.filter(pk=device.pk).exclude(last_error=problem[:500]).update(last_error=problem[:500]):
        places_announce()


def device_introduce(*, device: Device) -> bool:
    """A worker of it starts: where, with which version, with which secret key. False as of `device_beat`."""
    machines_tell()
    return bool(_ours(device).update(host=host_name(), version=software_version(), key_mark=key_mark()))


def device_present(*, device: Device, present: Mapping[str, str]) -> None:
    """Which registered checkpoints lie on its machine, with the sum of their files where it is known."""
    Device.objects.filter(pk=device.pk).update(present=dict(present))


def device_refuses(*, device: Device, checkpoint: Checkpoint) -> None:
    """It cannot load what others can: they draw with it from now on."""
    present = Device.objects.values_list("present", flat=True).get(pk=device.pk) or {}
    device_present(device=device, present={**present, checkpoint.name: UNREADABLE})
    logger.warning("The checkpoint %s is left to other devices than %s", checkpoint.name, device.name)


def device_claim() -> Device | None:
    """Serve this device from this data folder from now on; if another one serves it already, its row.

    One conditional update decides, whoever else does the same at this moment.
    """
    device, now = device_ensure(), timezone.now()
    silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=now - timedelta(seconds=settings.HEARTBEAT_SECONDS * 5))
    unclaimed = Q(claimed_at=None) | Q(claimed_at__lt=now - timedelta(seconds=CLAIM_SECONDS))
    free = Device.objects.filter(Q(instance=instance()) | silent & unclaimed, pk=device.pk)
    if free.update(instance=instance(), claimed_at=now, host=host_name()):
        return None
    device.refresh_from_db()
    return device


def _ours(device: Device) -> QuerySet[Device]:
    """Its row, as long as it is served from here. Nobody claims it where no cluster runs, as in tests."""
    return Device.objects.filter(pk=device.pk, instance__in=["", instance()])


def device_is_first(*, device: Device) -> bool:
    """Whether it is the one of all that live which does what one of them must do."""
    return Device.objects.alive().values_list("pk", flat=True).first() == device.pk


def device_silence() -> None:
    """Forget what earlier workers of this device told: a beat of theirs must not pass for one of that which starts."""
    Device.objects.filter(name=settings.DEVICE_NAME, instance__in=["", instance()]).update(
        heartbeat_at=None, worker_pid=None, room_pid=None, resident=[], memory_used=0, drawing=None
    )  # fmt: skip


def device_recycled(*, device: Device, reason: str) -> None:
    """Its engine room was replaced on purpose."""
    logger.info("The engine room is replaced: %s", reason)
    Device.objects.filter(pk=device.pk).update(
        recycles=F("recycles") + 1, recycled_at=timezone.now(), recycle_reason=reason[:200]
    )


def device_set_limits(*, device: Device, limits: Mapping[str, int | None], user: User) -> None:
    """What its room may use, None for the setting. The worker follows between two requests."""
    unknown = limits.keys() - set(Device.LIMITS)
    if unknown:
        raise ValueError(f"No limits of a device: {', '.join(sorted(unknown))}.")
    Device.objects.filter(pk=device.pk).update(**limits)
    detail = ", ".join(f"{name} {'as set' if value is None else value}" for name, value in limits.items())
    audit_record(
        actor=user, owner=None, verb="device.limits", target_kind="device", target_id=device.pk, detail=detail[:200]
    )
    ring(device=device)


def device_set_costs(*, device: Device, costs: Mapping[str, Any], user: User) -> None:
    """What it draws and costs while it works, None for the setting. For what is drawn from now on."""
    unknown = costs.keys() - set(Device.COSTS)
    if unknown:
        raise ValueError(f"No costs of a device: {', '.join(sorted(unknown))}.")
    Device.objects.filter(pk=device.pk).update(**costs)
    detail = ", ".join(f"{name} {'as set' if value is None else value}" for name, value in costs.items())
    audit_record(actor=user, owner=None, verb="device.costs", target_kind="device", target_id=device.pk, detail=detail)


def device_drain(*, device: Device, user: User) -> None:
    """Finish what is drawn and take nothing more, until it is resumed."""
    if Device.objects.filter(pk=device.pk, draining=False).update(paused=True, draining=True):
        audit_record(actor=user, owner=None, verb="device.drain", target_kind="device", target_id=device.pk)
        places_announce()
    device.paused = device.draining = True


def device_pause(*, device: Device, user: User) -> None:
    """Take no new request; the one that is drawn is finished."""
    _set_paused(device, user, paused=True)


def device_resume(*, device: Device, user: User) -> None:
    """Take requests again."""
    _set_paused(device, user, paused=False)
    ring(device=device)


@transaction.atomic
def device_delete(*, device: Device, user: User) -> None:
    """Forget one that will never come back, with what was learnt of its pace. Raises TesseraError while it lives."""
    found = Device.objects.select_for_update().filter(pk=device.pk).first()
    if found is None:
        return
    if found.is_alive():
        raise TesseraError(f"The device {found.name} is alive.", hint="Stop its cluster; 15 seconds later it can go.")
    if found.requests.filter(state__in=GenerationRequest.LEASED).exists():
        raise TesseraError(
            f"The device {found.name} has requests that others have not taken over yet.",
            hint="Its leases run out within a minute, when another device serves them; then delete it.",
        )
    detail = f"{found.name} on {found.host}" if found.host else found.name
    audit_record(actor=user, owner=None, verb="device.delete", target_kind="device", target_id=found.pk, detail=detail)
    found.delete()


def command_request(*, device: Device, kind: str, user: User | None) -> DeviceCommand:
    """Ask the worker for something; it obeys between two requests."""
    command = DeviceCommand.objects.create(device=device, kind=DeviceCommand.Kind(kind), requested_by=user)
    audit_record(actor=user, owner=None, verb=f"device.{kind}", target_kind="device", target_id=device.pk)
    ring(device=device)
    return command


def commands_take(*, device: Device) -> list[str]:
    """What was asked since the last time, oldest first; each is given out once."""
    waiting = list(DeviceCommand.objects.filter(device=device, done_at=None))
    now = timezone.now()
    return [
        command.kind
        for command in waiting
        if DeviceCommand.objects.filter(pk=command.pk, done_at=None).update(done_at=now)
    ]


def _set_paused(device: Device, user: User, *, paused: bool) -> None:
    if Device.objects.filter(pk=device.pk, paused=not paused).update(paused=paused, draining=False):
        verb = "device.pause" if paused else "device.resume"
        audit_record(actor=user, owner=None, verb=verb, target_kind="device", target_id=device.pk)
        places_announce()
    device.paused, device.draining = paused, device.draining and paused
