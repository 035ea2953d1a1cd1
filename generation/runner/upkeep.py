"""Keeps the engine room fit between two requests: obeys operators, follows their limits, replaces a room that grew."""

import logging
from collections.abc import Callable

from django.db import DatabaseError

from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError, EngineError
from generation.engines.params import CheckpointSpec
from generation.engines.talk import Tick
from generation.models import Checkpoint, Device, DeviceCommand
from generation.runner.room_settings import settings_of
from generation.services.devices import commands_take, device_recycled
from generation.services.local_files import checkpoint_here, spec_here

logger = logging.getLogger(__name__)

ASKED = "an operator asked for it"
CHANGED = "what it may use of memory was changed"

State = tuple[int, int, list[CheckpointSpec]] | None


class Upkeep:
    """Of one device's room. Every method leaves the room usable, or closed: then the next request opens a fresh one."""

    def __init__(self, device: Device, room: RoomClient, before: Callable[[], object] = lambda: None) -> None:
        """`before`: done before anything that may take long."""
        self._device, self._room, self._before = device, room, before
        self._told = False  # whether a room keeps any warm
        self._away: State = None  # of the room when an operator unloaded everything

    def between(self) -> None:
        """All that is due. A database that does not answer puts it off."""
        try:
            self._obey()
            self._follow()
            if reason := self._room.recycle():
                device_recycled(device=self._device, reason=reason)
        except DatabaseError as error:
            logger.warning("The upkeep of the engine room is put off: %s", error)

    def keep_warm(self, tick: Tick) -> None:
        """While nobody waits: have those loaded that operators want kept warm. Raises CanceledError from `tick`."""
        kept = _kept()
        if not (kept or self._told) or (self._away is not None and self._now(kept) == self._away):
            return
        try:
            self._room.keep_warm(kept, tick=tick)
            self._told = bool(kept)
        except CanceledError:
            raise
        except EngineError as error:
            logger.warning("Checkpoints are not kept warm: %s", error.message)

    def _now(self, kept: list[CheckpointSpec]) -> State:
        """Changes with a fresh room, with each request, and with what shall be kept."""
        status = self._room.status()
        return None if status is None else (status.pid, int(status.ledger.get("wishes", 0)), kept)

    def _obey(self) -> None:
        for kind in commands_take(device=self._device):
            logger.info("An operator asks for %s", kind)
            try:
                self._unload() if kind == DeviceCommand.Kind.UNLOAD else self._replace(ASKED)
            except EngineError as error:
                logger.warning("The engine room did not %s: %s", kind, error.message)

    def _unload(self) -> None:
        """Everything goes, and stays away until the next request."""
        self._before()
        self._room.unload()
        self._away = self._now(_kept())

    def _follow(self) -> None:
        """What an operator chose for the device holds from the next request on."""
        wanted, known = settings_of(Device.objects.get(pk=self._device.pk)), self._room.settings
        self._room.settings = wanted
        if wanted.limits != known.limits and self._room.status() is not None:
            self._replace(CHANGED)

    def _replace(self, reason: str) -> None:
        self._before()
        self._room.close()
        device_recycled(device=self._device, reason=reason)


def _kept() -> list[CheckpointSpec]:
    return [spec_here(one) for one in Checkpoint.objects.filter(enabled=True, keep_warm=True) if checkpoint_here(one)]
