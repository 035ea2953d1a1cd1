"""Admission: what no device here can draw is refused with figures before it waits in the queue.

Asked of what each device last told of itself and of its limits as they are now. One that never told anything admits.
"""

from core.errors import TesseraError
from generation.engines.admission import Question, Refusal, sizes_of
from generation.engines.footprint import Footprint
from generation.engines.params import Capability
from generation.engines.plan import Plan
from generation.models import Checkpoint, Device
from generation.presence import is_nowhere
from generation.services.footprints import footprint_known
from generation.services.limits import limits_of


class DoesNotFitError(TesseraError):
    """No device here has the memory for it, however sparing; `does_not_fit_at_all` in no other size either."""

    code = "does_not_fit"


class NowhereError(TesseraError):
    """No device here has its files."""

    code = "checkpoint_nowhere"
    status = 409


def presence_check(*, checkpoint: Checkpoint) -> None:
    """Raises NowhereError when nobody has its files, so that nobody waits for what cannot come."""
    if is_nowhere(checkpoint):
        raise NowhereError(
            f"No device here has the files of the checkpoint “{checkpoint}”.",
            hint="Choose another one, or ask an operator to put its files on a device.",
        )


def admission_check(*, checkpoint: Checkpoint, capability: Capability, width: int, height: int) -> None:
    """Raises DoesNotFitError unless some device can draw it, if need be in a more sparing way."""
    devices = list(Device.objects.all())
    if not all(_has_told(device) for device in devices) or not devices:
        return
    footprint = footprint_known(checkpoint=checkpoint)
    if footprint is None:
        return
    refusals = list[Refusal]()
    for device in sorted(devices, key=device_gives):
        refusal = _question(device, checkpoint, footprint, capability, (width, height)).refusal()
        if refusal is None:
            return
        refusals.append(refusal)
    best = refusals[-1]
    code = "does_not_fit" if best.smaller else "does_not_fit_at_all"
    raise DoesNotFitError(best.message, hint=best.hint, code=code)


def device_gives(device: Device) -> int:
    """Bytes of it that one checkpoint and its drawing can have, all others gone."""
    budget = limits_of(device).device_budget(device.memory_total)
    return max(budget - int(device.ledger.get("baseline", 0)), 0)


def _has_told(device: Device) -> bool:
    return bool(device.ledger and device.memory_total)


def _question(
    device: Device, checkpoint: Checkpoint, footprint: Footprint, capability: Capability, size: tuple[int, int]
) -> Question:
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
    )
