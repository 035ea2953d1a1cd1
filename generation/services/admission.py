"""Admission: what no device here can draw is refused with figures before it waits in the queue.

Asked of what each device that has the files last told of itself, and of its limits as they are now. While none has
told anything, all is admitted.
"""

from core.errors import TesseraError
from generation.engines.admission import Refusal
from generation.engines.params import Capability
from generation.fitting import asked_devices, device_gives, refusal_of
from generation.models import Checkpoint
from generation.presence import is_nowhere
from generation.services.footprints import footprint_known


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
    devices = asked_devices(checkpoint)
    footprint = footprint_known(checkpoint=checkpoint) if devices else None
    if footprint is None:
        return
    refusals = list[Refusal]()
    for device in sorted(devices, key=device_gives):
        refusal = refusal_of(device, checkpoint, footprint, capability, (width, height))
        if refusal is None:
            return
        refusals.append(refusal)
    best = refusals[-1]
    code = "does_not_fit" if best.smaller else "does_not_fit_at_all"
    raise DoesNotFitError(best.message, hint=best.hint, code=code)
