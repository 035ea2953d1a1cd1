"""Which devices have the memory for a request, as far as they told and its need is known. Reads only.

On one device this decides nothing but what is refused at the front door.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping

from generation.engines.admission import Question, Refusal, sizes_of
from generation.engines.errors import DeviceMemoryError
from generation.engines.footprint import Footprint
from generation.engines.params import Capability
from generation.engines.plan import Plan
from generation.limits import limits_of
from generation.models import Checkpoint, Device, GenerationRequest
from generation.presence import is_known

logger = logging.getLogger(__name__)

Unfit = Mapping[uuid.UUID, frozenset[uuid.UUID]]
Shape = tuple[uuid.UUID, Capability, int | None, int | None, str, uuid.UUID | None]
"""Checkpoint, what it does, width, height; why the last drawing of it broke off, and where."""

SHAPE = ("checkpoint_id", "capability", "params__width", "params__height", "error_code", "device_id")


def device_gives(device: Device) -> int:
    """Bytes of it that one checkpoint and its drawing can have, all others gone."""
    budget = limits_of(device).device_budget(device.memory_total)
    return max(budget - int(device.ledger.get("baseline", 0)), 0)


def asked_devices(checkpoint: Checkpoint) -> list[Device]:
    """Whom to ask whether it fits: who told of its memory, may be waited for and has the files.

    While nobody may be waited for, as when all of them start, everybody who ever told.
    """
    told = [one for one in Device.objects.all() if _has_told(one)]
    known = [one for one in told if is_known(one)] or told
    return [one for one in known if one.holds(checkpoint.name, checkpoint.sha256)]


def refusal_of(
    device: Device, checkpoint: Checkpoint, footprint: Footprint, capability: Capability, size: tuple[int, int]
) -> Refusal | None:
    """Why it cannot draw this in any way; None when it can."""
    own = "" if checkpoint.precision == "auto" else checkpoint.precision
    return Question(
        name=str(checkpoint),
        footprint=footprint,
        plan=Plan(own or device.ledger.get("precision", "")),
        size=size,
        sizes=sizes_of(checkpoint.sizes),
        device=device.kind,
        gives=device_gives(device),
        capability=capability,
    ).refusal()


def others_fit(request: GenerationRequest) -> bool:
    """Whether another device takes work, has the files, and the memory for this as far as it is known."""
    others = [one for one in asked_devices(request.checkpoint) if one.pk != request.device_id and one.takes_work()]
    size = (request.param("width"), request.param("height"))
    return bool(_fitting(others, request.checkpoint, request.capability, *size))  # type: ignore[arg-type]


def unfit_on(devices: Iterable[Device]) -> Unfit:
    """Requests that wait and that each of these leaves to another, larger one. At most three queries.

    Those for which it has not the memory, and what ran out of memory on it just now, while another could try. Where it
    fits on no device, everybody may try.
    """
    known = [one for one in devices if _has_told(one) and is_known(one)]
    if len(known) < 2:
        return {}
    waiting = GenerationRequest.objects.queued().order_by()
    shapes: list[Shape] = list(waiting.values_list(*SHAPE).distinct())
    checkpoints = Checkpoint.objects.in_bulk({shape[0] for shape in shapes})
    left = {shape: found for shape in shapes if (found := _leaving(known, checkpoints[shape[0]], shape))}
    unfit: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
    for pk, *shape in waiting.values_list("pk", *SHAPE) if left else ():
        for device in left.get(tuple(shape), ()):
            unfit[device].add(pk)
    return {device: frozenset(found) for device, found in unfit.items()}


def _leaving(devices: list[Device], checkpoint: Checkpoint, shape: Shape) -> set[uuid.UUID]:
    """Who leaves it to others."""
    _, capability, width, height, code, last = shape
    fitting = _fitting(
        [one for one in devices if one.holds(checkpoint.name, checkpoint.sha256)], checkpoint, capability, width, height
    )
    leaving = {one.pk for one in devices} - {one.pk for one in fitting} if fitting else set()
    others = [one for one in fitting if one.pk != last and one.takes_work()]
    if code == DeviceMemoryError.code and last is not None and others:
        leaving.add(last)
    return leaving


def _fitting(
    devices: list[Device], checkpoint: Checkpoint, capability: Capability, width: int | None, height: int | None
) -> list[Device]:
    footprint = _footprint_of(checkpoint)
    if footprint is None:
        return devices
    size = (width or 1, height or 1)
    return [one for one in devices if refusal_of(one, checkpoint, footprint, capability, size) is None]


def _footprint_of(checkpoint: Checkpoint) -> Footprint | None:
    """As it is kept; the front door foretells it where it is not."""
    try:
        return Footprint.from_dict(checkpoint.footprint) if checkpoint.footprint else None
    except TypeError:
        return None


def _has_told(device: Device) -> bool:
    return bool(device.ledger and device.memory_total)
