"""Tells operators and the scheduler which registered checkpoints lie on this machine, and whether they are the same.

Looked at between two requests and by the heartbeat. Where several machines share a database each file is summed up
once, in a thread of its own: two folders of one name may hold different weights. On one machine the engine room does
that when it loads.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from generation.engines.errors import EngineError
from generation.engines.fingerprint import Sums
from generation.models import Checkpoint, Device
from generation.services.bell import ring
from generation.services.devices import UNREADABLE, device_present
from generation.services.local_files import checkpoint_here

logger = logging.getLogger(__name__)

LOOK_SECONDS = 30.0


class Presence:
    """Of one device. Called by two threads of its worker."""

    def __init__(self, device: Device, *, thorough: bool | None = None) -> None:
        self._device = device
        self._thorough = settings.SHARED if thorough is None else thorough
        self._lock = threading.Lock()
        self._asked: list[tuple[str, str, str]] = []
        self._looked = float("-inf")
        self._told: dict[str, str] | None = None
        self._sums: dict[Path, str] = {}
        self._refused: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Look again when checkpoints were added or changed, else now and then. Raises DatabaseError."""
        with self._lock:
            rows = list(Checkpoint.objects.order_by("name"))
            asked = [(one.name, one.path, one.sha256) for one in rows]
            if asked == self._asked and time.monotonic() - self._looked < LOOK_SECONDS:
                return
            self._asked, self._looked = [], time.monotonic()  # first: the end of the sums asks for another look
            self._look(rows)
            self._asked = asked

    def _look(self, rows: list[Checkpoint]) -> None:
        places = {one.name: checkpoint_here(one) for one in rows}
        found = {name: self._sums.get(place, "") for name, place in places.items() if place is not None}
        self._note_refused(rows)
        for one in rows:
            if self._refused.get(one.name) == one.sha256:
                found[one.name] = UNREADABLE
        if found != self._told:
            device_present(device=self._device, present=found)
            self._told = found
            ring(device=self._device)
        self._begin_sums([place for place in places.values() if place is not None and place not in self._sums])

    def _note_refused(self, rows: list[Checkpoint]) -> None:
        """What could not be loaded here is left to others until its files are added anew, or this process ends."""
        if self._told is None:
            return
        told = Device.objects.values_list("present", flat=True).get(pk=self._device.pk) or {}
        for one in rows:
            if told.get(one.name) == UNREADABLE != self._told.get(one.name):
                self._refused[one.name] = one.sha256

    def _begin_sums(self, places: list[Path]) -> None:
        if self._thorough and places and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._sum_up, args=(places,), name="sums", daemon=True)
            self._thread.start()

    def _sum_up(self, places: list[Path]) -> None:
        sums = Sums()
        for place in places:
            try:
                self._sums[place] = sums.of(place).sha256
            except EngineError as error:
                logger.warning("The files of %s cannot be read: %s", place, error.message)
                self._sums[place] = UNREADABLE
        self._looked = float("-inf")


def quietly(look: Callable[[], None]) -> None:
    """For callers that shall go on when the database does not answer."""
    try:
        look()
    except DatabaseError as error:
        logger.warning("What is present was not told: %s", error)
