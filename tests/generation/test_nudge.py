"""A nudge ends the wait for a bell; without one the wait ends by itself."""

import stat
import threading
import time
from pathlib import Path

import pytest
from django_q.models import OrmQ
from django_q.tasks import async_task

from generation.brokers.nudge import Ear, nudge
from generation.brokers.rows import DatabaseBells

LONG = 60.0  # nobody waits so long here
DRAIN = "generation.tasks.drain"


def test_a_nudge_ends_the_wait_even_when_it_came_before(tmp_path: Path) -> None:
    ear = Ear(tmp_path, "tessera")
    for _ in range(3):
        nudge(tmp_path, "tessera")
    ear.wait(LONG)
    began = time.monotonic()
    ear.wait(0.05)
    assert time.monotonic() - began >= 0.04, "three nudges are one"
    timer = threading.Timer(0.1, nudge, [tmp_path, "tessera"])
    timer.start()
    ear.wait(LONG)
    timer.join()
    ear.close()


def test_only_this_user_may_nudge_and_a_dead_ear_is_replaced(tmp_path: Path) -> None:
    Ear(tmp_path, "tessera").close()
    ear = Ear(tmp_path, "tessera")
    [file] = tmp_path.glob("*.bell")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    nudge(tmp_path, "tessera")
    ear.wait(LONG)
    ear.close()


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    nudge(tmp_path, "tessera")
    Ear(tmp_path, "tessera").close()
    nudge(tmp_path, "tessera")


def test_a_crowd_of_nudges_blocks_nobody(tmp_path: Path) -> None:
    ear = Ear(tmp_path, "tessera")
    for _ in range(5000):
        nudge(tmp_path, "tessera")
    ear.wait(LONG)
    ear.close()


@pytest.mark.django_db
def test_a_bell_in_the_database_wakes_who_waits_for_it(settings: object, tmp_path: Path) -> None:
    settings.DATA = tmp_path  # type: ignore[attr-defined]
    bells = DatabaseBells("tessera")
    assert not bells.dequeue()
    assert bells._ear is not None
    async_task(DRAIN, broker=bells)
    bells._ear.wait(LONG)
    [(number, _)] = bells.dequeue()
    bells.delete(number)
    assert not OrmQ.objects.exists()
    bells._ear.close()
