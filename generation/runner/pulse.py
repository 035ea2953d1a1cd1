"""The heartbeat: tells the device row that the worker lives, and keeps the lease while its drawing goes on.

Runs in its own thread with its own database connection. The main thread touches the pulse; when it does not for too
long it hangs somewhere, and the process ends itself: the cluster is started again and the lease is reaped.
"""

import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from generation.engines.protocol import RoomStatus
from generation.models import Device, GenerationRequest
from generation.services.devices import device_beat
from generation.services.transitions import lease_renew

logger = logging.getLogger(__name__)

HANGING_SECONDS = 300.0
LOOK_SECONDS = 8.0
EXIT_HANGING = 70
EXIT_TAKEN = 70


class Pulse:
    """What main thread and heartbeat share. Plain attributes: each is written by one thread and read by the other."""

    def __init__(self) -> None:
        self._leaves_at = math.inf
        self._touched = time.monotonic()
        self._leases: dict[uuid.UUID, uuid.UUID] = {}  # replaced, never changed: the other thread may be reading it

    def leave(self, seconds: float) -> None:
        """Begin nothing more, and give back what is not finished in so many seconds. Sooner wins."""
        self._leaves_at = min(self._leaves_at, time.monotonic() + seconds)

    @property
    def leaving(self) -> bool:
        """Asked to end: nothing new is begun."""
        return self._leaves_at < math.inf

    @property
    def stopping(self) -> bool:
        """There is no time left for what is drawn either."""
        return time.monotonic() >= self._leaves_at

    def touch(self) -> None:
        """The main thread goes on."""
        self._touched = time.monotonic()

    def begin(self, request: GenerationRequest) -> None:
        """From now on this request is drawn too."""
        self.touch()
        if request.lease_token:
            self._leases = {**self._leases, request.pk: request.lease_token}

    def end(self, request: GenerationRequest) -> None:
        """It is drawn no longer."""
        self._leases = {pk: token for pk, token in self._leases.items() if pk != request.pk}

    @property
    def drawing(self) -> uuid.UUID | None:
        """The request that has been drawn for the longest time."""
        return next(iter(self._leases), None)

    @property
    def silence(self) -> float:
        """Seconds since the main thread was last seen to go on."""
        return time.monotonic() - self._touched

    def renew(self) -> None:
        """The leases reach LEASE_SECONDS beyond the last sign of progress, not beyond now."""
        left = settings.LEASE_SECONDS - self.silence
        if left <= 0:
            return
        for pk, token in self._leases.items():
            lease_renew(pk=pk, token=token, until=timezone.now() + timedelta(seconds=left))


class Heartbeat(threading.Thread):
    """Beats every HEARTBEAT_SECONDS as long as the process lives."""

    def __init__(
        self,
        device: Device,
        pulse: Pulse,
        status: Callable[[], RoomStatus | None],
        look_around: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._device, self._pulse, self._status, self._look_around = device, pulse, status, look_around
        self._looked = time.monotonic()

    def run(self) -> None:
        """Beat for ever."""
        while True:
            if not self.beat() and self._pulse.drawing is None:
                self._pulse.touch()  # no bell rings without a database, so an idle worker may be silent
            # The bell rings every minute, so a worker that is so long silent hangs, whether it draws or not.
            if self._pulse.silence > HANGING_SECONDS:
                logger.critical("The worker hangs since %d seconds and ends itself", self._pulse.silence)
                os._exit(EXIT_HANGING)
            time.sleep(settings.HEARTBEAT_SECONDS)

    def beat(self) -> bool:
        """Once; false when the database did not answer, which is no reason to stop. A fault of ours is no excuse."""
        try:
            status, drawing = self._status(), self._pulse.drawing
            if not device_beat(device=self._device, worker_pid=os.getpid(), status=status, drawing=drawing):
                end_taken(self._device)
            self._pulse.renew()
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._looked = time.monotonic()
                self._look_around()
        except DatabaseError as error:
            logger.warning("A heartbeat was lost: %s", error)
            connection.close()
            return False
        except Exception:
            logger.exception("A heartbeat was lost")
        return True


def end_taken(device: Device) -> NoReturn:
    """End this process: its device is another's. The cluster ends with it, and says at its next start who has it."""
    now = Device.objects.filter(pk=device.pk).first()
    taken = "was deleted" if now is None else f"is served from another data folder, on {now.host}"
    logger.critical(
        "The device %s %s: this worker ends. Each cluster needs a TESSERA_DEVICE_NAME of its own.", device, taken
    )
    os._exit(EXIT_TAKEN)
