"""Accepted means kept: real processes are killed in mid-picture, and every request still ends once, with a reason."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from accounts.models import User
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.services.checkpoints import checkpoint_register
from generation.services.requests import request_cancel, request_submit
from tests.generation.cluster import ROOT, ClusterProcess, database, environment
from tests.generation.engines.tiny import save_mosaic

pytestmark = pytest.mark.processes

PICTURES = 4  # enough to be in mid-picture for a while


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, migrated, beside a tiny checkpoint."""
    data = tmp_path_factory.mktemp("portal")
    save_mosaic(data / "tiny")
    command = [sys.executable, "manage.py", "migrate", "-v0"]
    subprocess.run(command, cwd=ROOT, env=environment(data), check=True)
    return data


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


def test_a_killed_room_costs_one_attempt_and_a_second_one_is_a_failure(
    cluster: ClusterProcess, checkpoint: Checkpoint
) -> None:
    lucky, unlucky = wish(checkpoint), wish(checkpoint)
    in_mid_picture(cluster, lucky)
    os.kill(cluster.room, signal.SIGKILL)
    cluster.wait_for(lucky, "completed", attempt=2)
    assert_complete(lucky)

    for attempt in (1, 2):
        in_mid_picture(cluster, unlucky, attempt=attempt)
        os.kill(cluster.room, signal.SIGKILL)
    failed = cluster.wait_for(unlucky, "failed")
    assert failed.error_code == "room_lost"
    assert "killed" in failed.error_message
    assert indices(unlucky) == []


def test_a_room_that_hangs_is_replaced(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    request = wish(checkpoint)
    in_mid_picture(cluster, request)
    os.kill(cluster.room, signal.SIGSTOP)
    cluster.wait_for(request, "completed", attempt=2)
    assert_complete(request)


def test_cancel_works_in_every_state(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    loading, running, stuck, queued = (wish(checkpoint) for _ in range(4))
    request_cancel(request=queued)
    assert queued.state == "canceled"

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
    assert [indices(request) for request in (loading, running, stuck, queued)] == [[], [], [], []]


def test_kills_of_worker_and_parent_fail_a_request_with_a_reason(
    cluster: ClusterProcess, checkpoint: Checkpoint
) -> None:
    request, waiting = wish(checkpoint), wish(checkpoint, count=1)
    in_mid_picture(cluster, request)
    cluster.note_processes()
    os.kill(cluster.worker, signal.SIGKILL)
    assert cluster.ended() == 70

    cluster.start()
    in_mid_picture(cluster, request, attempt=2)
    cluster.note_processes()
    assert cluster.parent is not None
    cluster.parent.kill()
    assert cluster.ended() == -signal.SIGKILL

    cluster.start()
    failed = cluster.wait_for(request, "failed")
    assert failed.error_code == "worker_lost"
    assert indices(request) == []
    cluster.wait_for(waiting, "completed")
    assert_complete(waiting)


def test_a_stop_gives_the_request_back_and_leaves_no_process(cluster: ClusterProcess, checkpoint: Checkpoint) -> None:
    request = wish(checkpoint)
    in_mid_picture(cluster, request)
    cluster.note_processes()
    os.kill(cluster.sentinel, signal.SIGKILL)
    assert cluster.ended() == 70

    cluster.start()
    in_mid_picture(cluster, request, attempt=2)
    cluster.note_processes()
    assert cluster.parent is not None
    began = time.monotonic()
    os.killpg(cluster.parent.pid, signal.SIGTERM)
    assert cluster.ended() == 0
    assert time.monotonic() - began < 15
    request.refresh_from_db()
    assert (request.state, request.attempt) == ("queued", 1)

    cluster.start()
    cluster.wait_for(request, "completed", attempt=2)
    assert_complete(request)


def test_a_killed_idle_worker_is_noticed(cluster: ClusterProcess) -> None:
    os.kill(cluster.worker, signal.SIGKILL)
    assert cluster.ended() == 70
