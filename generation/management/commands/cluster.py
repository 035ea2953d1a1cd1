"""`manage.py cluster`: the queue's worker and what serves it. Crash-only: `manage.py run` starts it again."""

import fcntl
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from core.folder_lock import FolderInUseError, shared
from generation.cluster import HouseCluster
from generation.models import Device
from generation.runner import worker
from generation.services import bell
from generation.services.devices import device_claim, device_silence

logger = logging.getLogger(__name__)

LOCK_SECONDS = 10.0
# A worker elsewhere that died is silent after this.
TAKE_OVER_SECONDS = settings.HEARTBEAT_SECONDS * 5 + 5.0


class Command(BaseCommand):
    """The django-q2 cluster with one worker, which holds the engine room."""

    help = "Start the queue's worker. Ends with 70 when one of its processes died: start it again then."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait for the last processes of an earlier cluster, ring once, guard."""
        data = Path(settings.DATA)
        try:
            with only_cluster(data, settings.DEVICE_NAME), shared(data):
                only_here()
                prepare()
                code = HouseCluster(on_stop=worker.stop, drain_seconds=settings.DRAIN_SECONDS).run()
        except FolderInUseError as error:
            raise CommandError(str(error)) from error
        sys.exit(code)


def prepare() -> None:
    """What a new cluster begins with. None of it is worth a crash when the disk is full: the schedule rings anyway."""
    try:
        device_silence()
        bell.bells_clear()
        bell.schedules_ensure()
    except DatabaseError as error:
        logger.error("The cluster starts, but the database cannot be written: %s", error)
    bell.ring()


def only_here() -> None:
    """Two clusters must not serve one device: each would take the other's work for its own."""
    end = time.monotonic() + TAKE_OVER_SECONDS
    while (other := _claim()) is not None:
        if time.monotonic() > end:
            raise CommandError(
                f"The device {other.name} is served by another cluster, on {other.host or 'some machine'}, from a data "
                "folder of its own. Give this one another TESSERA_DEVICE_NAME."
            )
        time.sleep(1)


def _claim() -> Device | None:
    try:
        return device_claim()
    except DatabaseError as error:
        logger.error("The database cannot be asked who serves this device: %s", error)
        return None
    except OSError as error:
        raise CommandError(f"{settings.DATA} cannot be written: {error.strerror or error}.") from error


@contextmanager
def only_cluster(data: Path, device: str) -> Iterator[None]:
    """Hold this device's lock in the data folder. Every child inherits it, so it is free when the last one is gone."""
    data.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + LOCK_SECONDS
    with (data / f"cluster-{device}.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise CommandError(
                        f"A cluster of the device {device} already runs on {data}. Stop it, or set TESSERA_DEVICE_NAME."
                    ) from error
            time.sleep(0.1)
        yield
