"""The cleaning task, the devices' commands, and that only one cluster runs on a data folder."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule

from accounts.models import AuditEvent, User
from generation import probes, storage, tasks
from generation.management.commands import cluster
from generation.models import GenerationRequest, Image, Project, Upload
from generation.runner.pulse import HANGING_SECONDS
from generation.services import bell, trash
from generation.services.devices import (
    command_request,
    commands_take,
    device_beat,
    device_ensure,
    device_pause,
    device_resume,
)
from tests.generation.queue import make_checkpoint, submit
from tests.generation.test_storage import png

LONG_AGO = timedelta(days=400)


def make_image(owner: User, project: Project, **changes: object) -> Image:
    """A picture, file and row."""
    stored = storage.write_picture(png(8, 8), {})
    return Image.objects.create(
        id=stored.id, project=project, owner=owner, prompt="x", seed=1, width=8, height=8, file=stored.file,
        sha256=stored.sha256, size_bytes=stored.size_bytes, **changes,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_prune_deletes_what_nobody_needs_and_nothing_else(alice: User, project: Project, stage: Path) -> None:
    kept = make_image(alice, project)
    trashed = make_image(alice, project, trashed_at=timezone.now() - LONG_AGO)
    orphan = storage.write_picture(png(8, 8), {})
    for file in (kept.file, orphan.file):
        os.utime(storage.path(file).parent, (0, time.time() - 3 * 24 * 3600))
    waiting = submit(alice, project, make_checkpoint())
    for folder in (waiting.pk.hex, uuid.uuid4().hex):
        (stage / "live" / folder).mkdir(parents=True)
    uploads = [
        Upload.objects.create(owner=alice, file=f"uploads/{name}", sha256="0", width=8, height=8, size_bytes=3)
        for name in ("unused", "used", "new")
    ]
    Upload.objects.exclude(file="uploads/new").update(created_at=timezone.now() - LONG_AGO)
    GenerationRequest.objects.update(source_upload=uploads[1])

    done = tasks.prune()

    assert done == {"trash": 1, "uploads": 1}
    assert tasks.sweep() == 1
    assert storage.path(kept.file).exists()
    assert not storage.path(trashed.file).exists()
    assert not storage.path(orphan.file).exists()
    assert [folder.name for folder in (stage / "live").iterdir()] == [waiting.pk.hex]
    assert sorted(Upload.objects.values_list("file", flat=True)) == ["uploads/new", "uploads/used"]


@pytest.mark.django_db(transaction=True)
def test_a_long_cleaning_is_not_taken_for_a_hanging_worker(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk so slow that every file takes 200 of the 300 seconds after which the watchdog ends the worker."""
    silences: list[float] = []
    delete, unlink = storage.delete, Path.unlink

    def slowly() -> None:
        tasks.PULSE._touched -= 200
        silences.append(tasks.PULSE.silence)

    monkeypatch.setattr(storage, "delete", lambda file: (slowly(), delete(file)))
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: (slowly(), unlink(path, missing_ok)))
    monkeypatch.setattr(trash, "BATCH", 1)
    for _ in range(3):
        make_image(alice, project, trashed_at=timezone.now() - LONG_AGO)
        os.utime(storage.path(storage.write_picture(png(8, 8), {}).file).parent, (0, 0))
        half = storage.path(f"uploads/ab/{uuid.uuid4()}")
        storage.write_atomic(half, b"x")
        os.utime(half, (0, 0))
        Upload.objects.create(owner=alice, file=f"uploads/{uuid.uuid4()}", sha256="0", width=8, height=8, size_bytes=3)
    Upload.objects.update(created_at=timezone.now() - LONG_AGO)

    assert tasks.prune() == {"trash": 3, "uploads": 3}
    assert tasks.sweep() == 6
    assert len(silences) == 12
    assert max(silences) < HANGING_SECONDS
    assert tasks.PULSE.silence < HANGING_SECONDS


def test_commands_are_given_out_once(olga: User) -> None:
    device = device_ensure()
    command_request(device=device, kind="unload", user=olga)
    command_request(device=device, kind="restart", user=olga)
    assert commands_take(device=device) == ["unload", "restart"]
    assert commands_take(device=device) == []
    assert AuditEvent.objects.filter(actor=olga, verb="device.restart").count() == 1


def test_a_pause_is_noted_once(olga: User) -> None:
    device = device_ensure()
    for _ in range(2):
        device_pause(device=device, user=olga)
    device_resume(device=device, user=olga)
    assert sorted(AuditEvent.objects.values_list("verb", flat=True)) == ["device.pause", "device.resume"]


@pytest.mark.django_db(transaction=True)
def test_the_bell_is_scheduled_once_and_cleared_at_the_start() -> None:
    for _ in range(2):
        bell.schedules_ensure()
        bell.ring()
    assert dict(Schedule.objects.values_list("func", "minutes")) == {
        "generation.tasks.drain": 1,
        "generation.tasks.prune": 60,
        "generation.tasks.sweep": 24 * 60,
    }
    assert OrmQ.objects.count() == 1
    bell.bells_clear()
    assert not OrmQ.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_refuses_ends_neither_pusher_nor_monitor() -> None:
    bell.ring()
    entry, broker = OrmQ.objects.get(), get_broker()
    with read_only():
        assert broker.dequeue() is None
        broker.acknowledge(entry.pk)
        cluster.prepare()
    assert [key for key, _ in broker.dequeue()] == [entry.pk]
    broker.acknowledge(entry.pk)
    assert not OrmQ.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_old_heartbeat_makes_nobody_ready() -> None:
    device = device_ensure()
    device_beat(device=device, worker_pid=1, status=None)
    assert probes.worker() is None
    cluster.prepare()
    assert probes.worker() is not None


@contextmanager
def read_only() -> Iterator[None]:
    """Every write is answered with an OperationalError."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = 1")
        try:
            yield
        finally:
            cursor.execute("PRAGMA query_only = 0")


@pytest.mark.django_db(transaction=True)
def test_a_bell_that_breaks_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell, "DRAIN", lambda: None)  # cannot be pickled
    bell.ring()
    assert not OrmQ.objects.exists()


def test_a_second_cluster_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOCK_SECONDS", 0.2)
    one, two = cluster.only_cluster(tmp_path, "main"), cluster.only_cluster(tmp_path, "main")
    with one, pytest.raises(CommandError, match="already runs"), two:
        pass
    with cluster.only_cluster(tmp_path, "main"):
        pass
