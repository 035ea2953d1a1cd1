"""Devices: the heartbeat of their worker, and what operators ask of them."""

import logging
from collections.abc import Mapping

from django.db.models import F
from django.utils import timezone

from accounts.models import User
from accounts.services import audit_record
from generation.engines.protocol import RoomStatus
from generation.models import Device, DeviceCommand
from generation.services.bell import ring

logger = logging.getLogger(__name__)

NAME = "main"


def device_ensure(*, name: str = NAME) -> Device:
    """The row of this machine's device."""
    return Device.objects.get_or_create(name=name)[0]


def device_beat(
    *, device: Device, worker_pid: int, status: RoomStatus | None, drawing: object = None, error: str | None = None
) -> None:
    """The worker lives, and this is what its room last told. An `error` of None keeps the last one."""
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
    if error is not None:
        values["last_error"] = error[:500]
    Device.objects.filter(pk=device.pk).update(**values)


def devices_silence() -> None:
    """Forget what earlier workers told: a heartbeat of theirs must not pass for one of the worker that starts."""
    Device.objects.update(
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
    ring()


def device_pause(*, device: Device, user: User) -> None:
    """Take no new request; the one that is drawn is finished."""
    _set_paused(device, user, paused=True)


def device_resume(*, device: Device, user: User) -> None:
    """Take requests again."""
    _set_paused(device, user, paused=False)
    ring()


def command_request(*, device: Device, kind: str, user: User | None) -> DeviceCommand:
    """Ask the worker for something; it obeys between two requests."""
    command = DeviceCommand.objects.create(device=device, kind=DeviceCommand.Kind(kind), requested_by=user)
    audit_record(actor=user, owner=None, verb=f"device.{kind}", target_kind="device", target_id=device.pk)
    ring()
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
    if Device.objects.filter(pk=device.pk, paused=not paused).update(paused=paused):
        verb = "device.pause" if paused else "device.resume"
        audit_record(actor=user, owner=None, verb=verb, target_kind="device", target_id=device.pk)
    device.paused = paused
