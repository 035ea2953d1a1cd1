"""What the worker process keeps between two tasks: the engine room, the heartbeat, whether it stops."""

import functools
import logging
import os
from functools import partial

from generation import scheduler
from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError
from generation.models import GenerationRequest
from generation.runner.company import Company
from generation.runner.opening import Opening
from generation.runner.patience import patiently
from generation.runner.presence import Presence, quietly
from generation.runner.pulse import Heartbeat, Pulse, end_taken
from generation.runner.room_settings import settings_of
from generation.runner.sitting import Sitting
from generation.runner.upkeep import Upkeep
from generation.services.announcements import places_announce, places_follow, request_announce
from generation.services.bell import ring
from generation.services.devices import device_beat, device_ensure, device_introduce, device_is_first
from generation.services.leases import leases_reap, work_waits
from generation.services.requests import requests_refuse

logger = logging.getLogger(__name__)

PULSE = Pulse()


class Worker:
    """One per worker process; survives between tasks, dies with the process."""

    def __init__(self) -> None:
        self.device = device_ensure()
        self.pulse = PULSE
        self.room = RoomClient(settings_of(self.device))
        self.opening = Opening(self.device, self.room)
        self.upkeep = Upkeep(self.device, self.room, self.settle)
        self.presence = Presence(self.device)
        self._fresh = True
        self._last: Sitting | None = None  # its completion is left to do
        self.pulse.touch()
        if not device_introduce(device=self.device):
            end_taken(self.device)
        Heartbeat(self.device, self.pulse, self.room.status, self._look_around).start()

    @property
    def leaving(self) -> bool:
        """Asked to end: nothing new is begun."""
        return self.pulse.leaving

    @property
    def resident(self) -> list[str]:
        """Names of the loaded checkpoints."""
        status = self.room.status()
        return [name for name, _ in status.resident] if status else []

    def serve_one(self) -> bool:
        """Draw the next request and those that join it; false when nobody waits, or the device can draw nothing.

        The last of it is completed when the next one is drawn, or by `settle`.
        """
        self.upkeep.between()
        quietly(self.presence.refresh)
        self._reap()
        patiently(requests_refuse, touch=self.pulse.touch)
        if not self.resident:
            self.settle()  # what opens or loads takes long
        if not self.opening.opens(self._tick):
            return False
        request = self._claim()
        if request is None and self.settle():
            request = self._claim()  # somebody may have waited for just that
        if request is None:
            return False
        before, company = self._last, Company(self.device, request)
        sitting = Sitting(self.room, self.pulse, company, partial(_tell, before, request), may_leave=True)
        self._last = sitting
        sitting.serve(request)
        return True

    def settle(self) -> bool:
        """Complete what was drawn last; whether anything was left to do."""
        last, self._last = self._last, None
        if last is not None:
            last.settle()
        return last is not None

    def _claim(self) -> GenerationRequest | None:
        return patiently(lambda: scheduler.claim_next(self.device, self.resident), touch=self.pulse.touch)

    def _look_around(self) -> None:
        """Beside the heartbeat, in its thread: what is here, whether a bell was lost, whether places changed."""
        self.presence.refresh()
        if self.pulse.drawing is None and self.opening.is_due and work_waits(self.device):
            ring(device=self.device)
        if device_is_first(device=self.device):
            places_follow()

    def warm_up(self) -> None:
        """While nobody waits: open the room before somebody does, and load what is kept warm."""
        if not self.opening.opens(self._tick):
            return
        try:
            self.upkeep.keep_warm(self._tick)
        except CanceledError:
            return
        device_beat(device=self.device, worker_pid=os.getpid(), status=self.room.status())

    def _tick(self) -> None:
        self.pulse.touch()
        if self.leaving:
            raise CanceledError("The worker stops.")

    def _reap(self) -> None:
        # Only one cluster serves a device, so what it leased before this process began belongs to a dead worker.
        dead = self.device if self._fresh else None
        patiently(lambda: leases_reap(dead=dead), touch=self.pulse.touch)
        self._fresh = False


def _tell(before: Sitting | None, request: GenerationRequest) -> None:
    """What is done while the room has begun to draw `request`."""
    try:
        if before is not None:
            before.settle()
    finally:
        request_announce(request.pk)
        places_announce()


@functools.cache
def the_worker() -> Worker:
    """The one of this process, made on first use: after the fork."""
    return Worker()


def stop(seconds: float) -> None:
    """Asked by a signal to end: what is not drawn in so many seconds goes back to the queue. Sets a number only."""
    PULSE.leave(seconds)
