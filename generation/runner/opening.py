"""Whether the engine room opens: asked before a request is claimed, so that a broken device takes none and fails none.

One that does not open is told to operators and to those who wait, and tried again now and then.
"""

import logging
import time
from dataclasses import dataclass, field

from django.db import DatabaseError

from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError, EngineError, RoomError, RoomStalledError
from generation.engines.talk import Tick
from generation.models import Device
from generation.services.devices import device_opens

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0


@dataclass(slots=True)
class Opening:
    """Of one device. What a request does to the room is not looked at: only whether a room of its own opens."""

    device: Device
    room: RoomClient
    _told: str | None = None
    _failures: int = 0
    _again_at: float = field(default=0.0)

    @property
    def is_due(self) -> bool:
        """Whether it is worth trying now."""
        return time.monotonic() >= self._again_at

    def opens(self, tick: Tick) -> bool:
        """Whether the room is open, opened if need be. False also when `tick` wants to stop."""
        if not self.is_due:
            return False
        try:
            self._open(tick)
        except CanceledError:
            return False
        except EngineError as error:
            self._put_off(error)
            return False
        self._failures = 0
        self._tell("")
        return True

    def _open(self, tick: Tick) -> None:
        try:
            self.room.start(tick=tick)
        except RoomStalledError:
            raise
        except RoomError as error:  # killed while it opened, which says nothing of the device
            logger.warning("The engine room is opened once more: %s", error.message)
            self.room.start(tick=tick)

    def _put_off(self, error: EngineError) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures, self._again_at = self._failures + 1, time.monotonic() + pause
        logger.error("The engine room does not open: %s %s Tried again in %d s", error.message, error.hint, pause)
        self._tell(f"{error.message} {error.hint}".strip())

    def _tell(self, problem: str) -> None:
        if problem == self._told:
            return
        try:
            device_opens(device=self.device, problem=problem)
            self._told = problem
        except DatabaseError as error:
            logger.warning("Whether the engine room opens was not told: %s", error)
