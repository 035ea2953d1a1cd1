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

from generation.cluster import HouseCluster
from generation.runner import worker
from generation.services import bell
from generation.services.devices import devices_silence

logger = logging.getLogger(__name__)

LOCK_SECONDS = 10.0


class Command(BaseCommand):
    """The django-q2 cluster with one worker, which holds the engine room."""

    help = "Start the queue's worker. Ends with 70 when one of its processes died: start it again then."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait for the last processes of an earlier cluster, ring once, guard."""
        with only_cluster(Path(settings.DATA)):
            prepare()
            code = HouseCluster(on_stop=worker.stop).run()
        sys.exit(code)


def prepare() -> None:
    """What a new cluster begins with. None of it is worth a crash when the disk is full: the schedule rings anyway."""
    try:
        devices_silence()
        bell.bells_clear()
        bell.schedules_ensure()
    except DatabaseError as error:
        logger.error("The cluster starts, but the database cannot be written: %s", error)
    bell.ring()


@contextmanager
def only_cluster(data: Path) -> Iterator[None]:
    """Hold the lock of the data folder. Every child inherits it, so it is free only when the last one is gone."""
    data.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + LOCK_SECONDS
    with (data / "cluster.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise CommandError(f"A cluster already runs on {data}. Stop it, or set TESSERA_DATA.") from error
            time.sleep(0.1)
        yield
