"""One claimed request, drawn by a real engine room with tiny checkpoints, from row to pictures."""

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from generation import events, live, scheduler, storage
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.errors import CanceledError
from generation.engines.provenance import recipe_of
from generation.fitting import device_gives
from generation.models import Checkpoint, GenerationRequest, Image, Project, Upload
from generation.runner import drawing, patience, publisher, pulse, settling
from generation.runner.opening import Opening
from generation.runner.pulse import Heartbeat, Pulse
from generation.runner.sitting import Sitting
from generation.services import transitions
from generation.services.devices import device_ensure
from generation.services.requests import request_cancel, request_submit
from tests.generation.queue import submit, wish

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[events.Frame]:
    """What was shown to the owner."""
    shown: list[events.Frame] = []
    monkeypatch.setattr(events, "publish_frame", lambda user, frame: shown.append(frame))
    return shown


def draw(room: RoomClient, *, before: Callable[[GenerationRequest, Pulse], Any] | None = None) -> GenerationRequest:
    """Claim the next request and draw it; `before` is done between the two."""
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    pulse = Pulse()
    if before is not None:
        before(request, pulse)
    Sitting(room, pulse).serve(request)
    request.refresh_from_db()
    return request


def files() -> list[Path]:
    """Everything in the media folder's images."""
    return [path for path in storage.path("images").rglob("*") if path.is_file()]


def test_a_request_becomes_pictures(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, frames: list[events.Frame]
) -> None:
    submit(alice, project, mosaic, count=2, seed=7)
    request = draw(room)
    assert (request.state, request.attempt, request.error_message) == ("completed", 1, "")
    assert request.lease_token is None
    assert request.figures["checkpoint"] == "mosaic"
    first, second = Image.objects.order_by("index")
    assert (first.index, first.seed, second.seed, first.owner, first.project) == (0, 7, 8, alice, project)
    png = storage.picture_path(first).read_bytes()
    assert recipe_of(png) == first.recipe
    assert (first.recipe["prompt"], first.recipe["seed"], first.recipe["guidance"]) == ("a cat on blue", 7, 2.0)
    assert len(png) == first.size_bytes
    assert storage.thumb_path(first).read_bytes()[8:12] == b"WEBP"
    assert {frame.index for frame in frames} == {0, 1}
    assert len([frame for frame in frames if frame.index == 0]) >= 8
    assert live.missing(request.pk, run=0, have={}, limit=None) == []
    mosaic.refresh_from_db()
    assert mosaic.seconds_per_picture


def test_steps_without_pixels_are_progress(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def progress(*, request: GenerationRequest, step: int, steps: int) -> None:
        seen.append((step, steps))

    monkeypatch.setattr(publisher, "STEP_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "request_progress", progress)
    monkeypatch.setattr(publisher.Publisher, "fragment", lambda self, fragment: None)
    submit(alice, project, diffusion, steps=150, count=4)  # more than the second between two signs, even here
    assert draw(room).state == "completed"
    assert seen
    assert {steps for _, steps in seen} == {600}
    assert seen == sorted(seen)


def test_a_picture_to_start_from_is_handed_over(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, diffusion: Checkpoint
) -> None:
    submit(alice, project, mosaic)
    start = Image.objects.get(request=draw(room))
    request_submit(
        user=alice, project=project, checkpoint=diffusion, params=wish(strength=0.5, steps=8), source_image=start
    )
    request = draw(room)
    assert (request.state, request.error_message) == ("completed", "")
    assert Image.objects.get(request=request).recipe["source_image"] == str(start.pk)


def test_a_picture_that_went_away_fails_with_a_reason(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    storage.write_atomic(storage.path("uploads/a.png"), b"png")
    upload = Upload.objects.create(owner=alice, file="uploads/a.png", sha256="0", width=32, height=32, size_bytes=3)
    request_submit(user=alice, project=project, checkpoint=diffusion, params=wish(), source_upload=upload)
    upload.delete()
    request = draw(room)
    assert (request.state, request.error_code) == ("failed", "source_missing")


def test_cancel_while_it_is_drawn(room: RoomClient, alice: User, project: Project, diffusion: Checkpoint) -> None:
    submit(alice, project, diffusion, steps=150)
    request = draw(room, before=lambda request, pulse: request_cancel(request=request))
    assert (request.state, request.error_message) == ("canceled", "")
    assert files() == []


def test_an_owner_who_is_deactivated_gets_nothing_more(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    submit(alice, project, diffusion, steps=150)
    request = draw(room, before=lambda request, pulse: User.objects.update(is_active=False))
    assert request.state == "canceled"
    assert "deactivated" in request.error_message


def test_who_lost_the_lease_writes_nothing(room: RoomClient, alice: User, project: Project, mosaic: Checkpoint) -> None:
    def reap(request: GenerationRequest, pulse: Pulse) -> None:
        GenerationRequest.objects.update(state="failed", lease_token=None, error_message="reaped")

    submit(alice, project, mosaic)
    request = draw(room, before=reap)
    assert (request.state, request.error_message) == ("failed", "reaped")
    assert not Image.objects.exists()
    assert files() == []


def test_a_corrupt_checkpoint_is_switched_off_and_named(
    room: RoomClient,
    alice: User,
    project: Project,
    mosaic: Checkpoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mosaic.path = str(tmp_path / "gone")
    mosaic.name = "gone"
    mosaic.save()
    submit(alice, project, mosaic)
    request = draw(room)
    assert (request.state, request.error_code) == ("failed", "checkpoint_unusable")
    mosaic.refresh_from_db()
    assert not mosaic.enabled
    assert mosaic.disabled_reason == request.error_message
    assert [line.name for line in caplog.records if line.levelname == "ERROR"] == [settling.__name__]


def test_a_full_disk_is_a_failure_with_a_clear_sentence(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    submit(alice, project, mosaic)
    request = draw(room)
    assert (request.state, request.error_code) == ("failed", "disk_full")
    assert "disk is full" in request.error_message
    assert files() == []


def test_a_fault_after_the_commit_keeps_the_pictures(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_late(**changes: Any) -> bool:
        transitions.request_complete(**changes)
        raise RuntimeError("somewhere between the commit and the answer")

    def forgets(**changes: Any) -> None:
        raise Checkpoint.DoesNotExist

    submit(alice, project, mosaic)
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "request_complete", breaks_late)
        assert draw(room).state == "completed"
    submit(alice, project, mosaic)
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "checkpoint_learn", forgets)
        with pytest.raises(Checkpoint.DoesNotExist):
            draw(room)
    assert Image.objects.count() == 2
    assert all(storage.picture_path(image).exists() for image in Image.objects.all())


def test_a_database_without_room_is_a_full_disk(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def full(**changes: Any) -> bool:
        seen.append(len(files()))
        raise OperationalError("database or disk is full")

    def fail(**changes: Any) -> None:
        seen.append(len(files()))
        if len(seen) < 4:
            raise OperationalError("database or disk is full")
        transitions.request_fail(**changes)

    monkeypatch.setattr(drawing, "request_complete", full)
    monkeypatch.setattr(settling, "request_fail", fail)
    monkeypatch.setattr(patience.patiently, "__kwdefaults__", {"seconds": 0.0})
    submit(alice, project, mosaic)
    request = draw(room)
    assert (request.state, request.error_code) == ("failed", "disk_full")
    assert seen == [2, 0, 0, 0]  # the files give room before the outcome is written


def test_a_stop_gives_it_back_without_counting(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint
) -> None:
    submit(alice, project, mosaic)
    request = draw(room, before=lambda request, pulse: pulse.leave(0))
    assert (request.state, request.attempt, request.lease_token) == ("queued", 0, None)
    assert draw(room).state == "completed"


def test_a_room_that_dies_costs_an_attempt(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, mosaic, count=2)
    with monkeypatch.context() as patch:
        patch.setattr(events, "publish_frame", lambda user, frame: room.kill())
        request = draw(room)
    assert (request.state, request.attempt) == ("queued", 1)
    assert files() == []
    assert draw(room).attempt == 2
    assert Image.objects.count() == 2


def test_the_heartbeat_tells_the_device_and_renews_the_lease(
    room: RoomClient, alice: User, project: Project, mosaic: Checkpoint
) -> None:
    device = device_ensure()
    submit(alice, project, mosaic)

    def beat(request: GenerationRequest, pulse: Pulse) -> None:
        GenerationRequest.objects.update(lease_until=None)
        pulse.begin(request)
        Heartbeat(device, pulse, room.status).beat()
        device.refresh_from_db()
        request.refresh_from_db()
        assert device.drawing == request.pk
        assert request.lease_until is not None

    draw(room, before=beat)
    Heartbeat(device, Pulse(), room.status).beat()
    device.refresh_from_db()
    assert (device.drawing, device.kind, device.worker_pid) == (None, "cpu", os.getpid())
    assert device.resident[-1]["name"] == "mosaic"  # used last; what earlier tests drew with may be there too
    assert device.memory_total > device.memory_used > 0
    assert (device.ledger["precision"], device.ledger["unified"]) == ("fp32", True)
    assert device.ledger["holdings"][-1]["name"] == "mosaic"
    assert device_gives(device) > 0


def test_a_stop_while_the_room_opens_is_no_error(db: None, caplog: pytest.LogCaptureFixture) -> None:
    def stopping() -> None:
        raise CanceledError("The worker stops.")

    with RoomClient(RoomSettings(device="cpu")) as opening:
        assert not Opening(device_ensure(), opening).opens(stopping)
    assert device_ensure().last_error == ""
    assert [line for line in caplog.records if line.levelname == "ERROR"] == []


def test_a_worker_that_is_silent_too_long_ends_itself_but_not_without_a_database(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndedError(Exception):
        """Instead of the end of this process."""

    def end(code: int) -> None:
        raise EndedError

    heart = Heartbeat(device_ensure(), Pulse(), lambda: None)
    monkeypatch.setattr(pulse, "HANGING_SECONDS", -1.0)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(EndedError):
        heart.run()
    monkeypatch.setattr(pulse, "HANGING_SECONDS", 300.0)
    idle, busy = Pulse(), Pulse()
    busy.begin(GenerationRequest(lease_token=uuid.uuid4()))
    monkeypatch.setattr(pulse, "device_beat", _broken)
    for own in (idle, busy):
        own._touched -= 1000
        heart = Heartbeat(device_ensure(), own, lambda: None)
        monkeypatch.setattr(pulse.time, "sleep", lambda seconds: end(0))
        with pytest.raises(EndedError):
            heart.run()
    assert idle.silence < 300 < busy.silence


def test_a_heartbeat_that_breaks_for_our_own_fault_is_no_excuse_for_silence(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(**changes: Any) -> None:
        raise TypeError("a fault of ours")

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(pulse, "device_beat", fault)
    monkeypatch.setattr(os, "_exit", end)
    idle = Pulse()
    idle._touched -= 1000
    with pytest.raises(SystemExit, match=str(pulse.EXIT_HANGING)):
        Heartbeat(device_ensure(), idle, lambda: None).run()
    assert "A heartbeat was lost" in caplog.text


def test_a_locked_database_is_waited_out() -> None:
    tries: list[int] = []

    def action() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("database is locked")
        return "done"

    assert patience.patiently(action, touch=lambda: None) == "done"
    assert len(tries) == 3
    with pytest.raises(OperationalError, match="no such table"):
        patience.patiently(_broken, touch=lambda: None)


def _broken(**changes: Any) -> None:
    raise OperationalError("no such table: x")
