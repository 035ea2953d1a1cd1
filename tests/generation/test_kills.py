"""Accepted means kept: real processes are killed in mid-picture, and every request still ends once, with a reason."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from pytest_django import DjangoDbBlocker

from accounts.models import User
from generation import storage
from generation.cluster import CRASHED
from generation.engines.mosaic import Mosaic
from generation.models import Checkpoint, Device, GenerationRequest, Image, Project
from generation.services.checkpoints import checkpoint_register
from generation.services.requests import request_cancel, request_submit
from tests.generation.cluster import ROOT, ClusterProcess, database, environment, locked
from tests.generation.engines.tiny import save_janus

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]  # generous: some machines are busy

PICTURES = 2
GRID = 16  # with so many tokens that there is time to be in mid-picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, migrated, beside a tiny checkpoint."""
    data = tmp_path_factory.mktemp("portal")
    save_tiny(data / "tiny")
    command = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(command, cwd=ROOT, env=environment(data), check=True)
    return data


def save_tiny(target: Path) -> None:
    """Untrained, and made of 2-pixel tiles."""
    tiles = np.random.default_rng(3).integers(0, 256, (21, 2, 2, 4), dtype=np.uint8)
    mosaic = Mosaic(("white",), np.full((1, 3), 255, dtype=np.uint8), tiles, (GRID, GRID))
    save_janus(target, image_tokens=mosaic.tokens, codes=mosaic.codes, mosaic=mosaic)


@pytest.fixture
def cluster(folder: Path, django_db_blocker: DjangoDbBlocker, settings: object) -> Iterator[ClusterProcess]:
    """A running cluster, and its database in this process. Nobody outlives the test."""
    settings.MEDIA_ROOT = folder / "media"  # type: ignore[attr-defined]
    with django_db_blocker.unblock(), database(folder):
        made = ClusterProcess(folder)
        try:
            made.start()
            yield made
        finally:
            made.stop()
            GenerationRequest.objects.open().update(state="canceled", lease_token=None)


@pytest.fixture
def checkpoint(cluster: ClusterProcess) -> Checkpoint:
    """Tiny and real."""
    return checkpoint_register(path=cluster.data / "tiny", name="tiny")


def wish(checkpoint: Checkpoint, *, count: int = PICTURES) -> GenerationRequest:
    """Submitted through the front door."""
    user = User.objects.filter(email="alice@example.org").first() or User.objects.create_user("alice@example.org")
    project, _ = Project.objects.get_or_create(owner=user, kind=Project.Kind.PERSONAL, name="Personal")
    params = {"prompt": "a cat on blue", "width": 32, "height": 32, "count": count, "seed": 5}
    return request_submit(user=user, project=project, checkpoint=checkpoint, params=params)


def in_mid_picture(cluster: ClusterProcess, request: GenerationRequest, *, attempt: int = 1) -> None:
    """The room draws it right now."""
    cluster.wait_for(request, "running", attempt=attempt)


def indices(request: GenerationRequest) -> list[int]:
    """Of the pictures it has."""
    return sorted(Image.objects.filter(request=request).values_list("index", flat=True))


def assert_complete(request: GenerationRequest) -> None:
    """One set of pictures, and their files."""
    assert indices(request) == list(range(request.param("count")))
    for image in Image.objects.filter(request=request):
        assert storage.picture_path(image).stat().st_size == image.size_bytes
        assert storage.thumb_path(image).exists()


def test_faults_of_the_room_and_cancel_in_every_state(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    unlucky, loading, running, stuck, queued, fine = (wish(checkpoint) for _ in range(6))
    request_cancel(request=queued)
    assert queued.state == "canceled"

    in_mid_picture(cluster, unlucky)
    os.kill(cluster.room, signal.SIGKILL)
    in_mid_picture(cluster, unlucky, attempt=2)
    os.kill(cluster.room, signal.SIGSTOP)
    failed = cluster.wait_for(unlucky, "failed")
    assert failed.error_code == "room_stalled"
    assert failed.error_message and failed.error_hint

    cluster.wait_for(loading, "loading")
    request_cancel(request=loading)
    cluster.wait_for(loading, "canceled")

    in_mid_picture(cluster, running)
    request_cancel(request=running)
    cluster.wait_for(running, "canceled")

    in_mid_picture(cluster, stuck)
    os.kill(cluster.room, signal.SIGSTOP)
    request_cancel(request=stuck)
    cluster.wait_for(stuck, "canceled")

    cluster.wait_for(fine, "completed", attempt=1)
    assert_complete(fine)
    assert all(indices(request) == [] for request in (unlucky, loading, running, stuck, queued))


def test_a_worker_whose_device_was_taken_ends_with_its_cluster(cluster: ClusterProcess) -> None:
    cluster.note_processes()
    Device.objects.update(instance="another data folder", host="far")
    try:
        assert cluster.ended() == CRASHED
        assert "is served from another data folder, on far: this worker ends" in cluster.log.read_text()
    finally:
        Device.objects.update(instance="", heartbeat_at=None, claimed_at=None)


def test_faults_of_the_cluster_lose_nothing_and_leave_nobody(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    unlucky, kept = wish(checkpoint), wish(checkpoint)
    in_mid_picture(cluster, unlucky)
    assert cluster.killed(cluster.worker) == CRASHED

    cluster.start()
    in_mid_picture(cluster, unlucky, attempt=2)
    assert cluster.killed(cluster.top) == -signal.SIGKILL

    cluster.start()
    failed = cluster.wait_for(unlucky, "failed")
    assert failed.error_code == "worker_lost"
    assert failed.error_message and failed.error_hint
    in_mid_picture(cluster, kept)
    assert cluster.killed(cluster.sentinel) == CRASHED

    cluster.start()
    in_mid_picture(cluster, kept, attempt=2)
    cluster.note_processes()
    os.killpg(cluster.top, signal.SIGTERM)
    assert cluster.ended() == 0
    kept.refresh_from_db()
    assert (kept.state, kept.attempt) == ("queued", 1)

    cluster.start()
    cluster.wait_for(kept, "completed", attempt=2)
    assert_complete(kept)
    assert indices(unlucky) == []
    # django-q2 alone would replace the idle worker by one that never gets a task again
    assert cluster.killed(cluster.worker) == CRASHED

    late = wish(checkpoint, count=1)
    cluster.start()
    cluster.wait_for(late, "loading", attempt=1)  # the room opens meanwhile
    assert cluster.killed(cluster.worker) == CRASHED
    cluster.start()
    cluster.wait_for(late, "completed", attempt=2)
    assert_complete(late)


def test_what_is_drawn_is_finished_before_the_end_unless_it_has_to_be_quick(
    cluster: ClusterProcess, checkpoint: Checkpoint
) -> None:
    cluster.stop()
    cluster.start(drain=600)
    first, second = wish(checkpoint), wish(checkpoint)
    in_mid_picture(cluster, first)
    for process in [psutil.Process(cluster.top), *psutil.Process(cluster.top).children(recursive=True)]:
        process.send_signal(signal.SIGTERM)  # as service managers do it
    assert cluster.ended() == 0
    cluster.wait_for(first, "completed", attempt=1)
    assert_complete(first)
    second.refresh_from_db()
    assert (second.state, second.attempt) == ("queued", 0)

    cluster.start(drain=600)
    in_mid_picture(cluster, second)
    os.killpg(cluster.top, signal.SIGTERM)
    os.kill(cluster.top, signal.SIGINT)
    assert cluster.ended() == 0
    second.refresh_from_db()
    assert (second.state, second.attempt) == ("queued", 0)


def test_who_was_drawn_beside_others_when_the_room_died_is_drawn_alone(
    cluster: ClusterProcess, checkpoint: Checkpoint
) -> None:
    cluster.stop()
    cluster.start(side_by_side=8)
    requests = [wish(checkpoint) for _ in range(3)]
    for request in requests:
        in_mid_picture(cluster, request)
    os.kill(cluster.room, signal.SIGKILL)
    rows = [cluster.wait_for(request, "completed", attempt=2) for request in requests]
    for row in rows:
        assert_complete(row)
    rows.sort(key=lambda row: str(row.started_at))
    for row, after in pairwise(rows):
        assert row.started_at is not None and after.started_at is not None
        drawn = row.started_at + timedelta(seconds=row.figures["total_seconds"])
        assert drawn <= after.started_at, "one after the other"


def test_a_kill_between_the_files_and_their_rows(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    cluster.stop()
    cluster.start("tests.generation.hasty")
    before, request = set(pictures(cluster)), wish(checkpoint)
    in_mid_picture(cluster, request)
    with locked(cluster.data):
        cluster.wait(lambda: len(set(pictures(cluster)) - before) == PICTURES, "files of pictures")
        request.refresh_from_db()
        assert request.state == "running"
        assert cluster.killed(cluster.worker) == CRASHED
    cluster.start()
    cluster.wait_for(request, "completed", attempt=2)
    assert_complete(request)
    assert len(set(pictures(cluster)) - before) == 2 * PICTURES  # the sweep takes those of the first attempt


def pictures(cluster: ClusterProcess) -> list[Path]:
    """Files that are written, whether they have rows or not."""
    return [path.parent for path in (cluster.data / "media").rglob("thumb.webp")]
