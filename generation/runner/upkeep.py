"""Keeps the engine room fit between two requests: obeys operators, follows their limits, replaces a room that grew."""

import logging

from django.db import DatabaseError

from generation.engines.client import RoomClient
from generation.engines.errors import EngineError
from generation.models import Device, DeviceCommand
from generation.runner.room_settings import settings_of
from generation.services.devices import commands_take, device_recycled

logger = logging.getLogger(__name__)

ASKED = "an operator asked for it"
CHANGED = "what it may use of memory was changed"


class Upkeep:
    """Of one device's room. Every method leaves the room usable, or closed: then the next request opens a fresh one."""

    def __init__(self, device: Device, room: RoomClient) -> None:
        self._device = device
        self._room = room

    def between(self) -> None:
        """All that is due. A database that does not answer puts it off."""
        try:
            self._obey()
            self._follow()
            if reason := self._room.recycle():
                device_recycled(device=self._device, reason=reason)
        except DatabaseError as error:
            logger.warning("The upkeep of the engine room is put off: %s", error)

    def _obey(self) -> None:
        for kind in commands_take(device=self._device):
            logger.info("An operator asks for %s", kind)
            try:
                self._room.unload() if kind == DeviceCommand.Kind.UNLOAD else self._replace(ASKED)
            except EngineError as error:
                logger.warning("The engine room did not %s: %s", kind, error.message)

    def _follow(self) -> None:
        """What an operator chose for the device holds from the next request on."""
        wanted, known = settings_of(Device.objects.get(pk=self._device.pk)), self._room.settings
        self._room.settings = wanted
        if wanted.limits != known.limits and self._room.status() is not None:
            self._replace(CHANGED)

    def _replace(self, reason: str) -> None:
        self._room.close()
        device_recycled(device=self._device, reason=reason)
