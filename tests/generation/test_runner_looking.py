"""Requests that look at a picture, in a real engine room: an edit ends with pictures, a description with words."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accounts.models import User
from generation import events, scheduler, storage
from generation.engines.client import RoomClient
from generation.models import Checkpoint, GenerationRequest, Image, Project, Upload
from generation.runner import publisher
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.checkpoints import checkpoint_register
from generation.services.describing import request_describe
from generation.services.devices import device_ensure
from generation.services.requests import request_cancel, request_submit
from tests.generation.engines.drawing import pictures, png
from tests.generation.engines.tiny import save_looking
from tests.generation.queue import wish

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_looking(tmp_path_factory.mktemp("shelf") / "looking")


@pytest.fixture
def looking(folder: Path, db: None) -> Checkpoint:
    """Edits and describes."""
    return checkpoint_register(path=folder)


@pytest.fixture
def shown(alice: User, stage: Path) -> Upload:
    """A picture that the tiny network has something to say about."""
    storage.write_atomic(storage.path("uploads/shown.png"), png(pictures()[0]))
    return Upload.objects.create(owner=alice, file="uploads/shown.png", sha256="0", width=32, height=32, size_bytes=3)


def serve(room: Any, before: Callable[[GenerationRequest], Any] | None = None) -> GenerationRequest:
    """Claim the next request and answer it; `before` is done between the two."""
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    if before is not None:
        before(request)
    Sitting(room, Pulse()).serve(request)
    request.refresh_from_db()
    return request


def test_a_picture_is_edited(
    room: RoomClient, alice: User, project: Project, looking: Checkpoint, shown: Upload
) -> None:
    request_submit(user=alice, project=project, checkpoint=looking, params=wish(count=2), source_upload=shown)
    request = serve(room)
    assert (request.state, request.error_message, request.answer) == ("completed", "", "")
    first, second = Image.objects.order_by("index")
    assert (first.recipe["capability"], first.recipe["prompt"]) == ("edit", "a cat on blue")
    assert first.sha256 != second.sha256


def test_a_description_ends_with_words_and_without_pictures(
    room: RoomClient, alice: User, looking: Checkpoint, shown: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, events.TextEvent]] = []
    kept: list[str] = []
    keep = publisher.request_words

    def keep_and_note(*, request: GenerationRequest, answer: str) -> None:
        kept.append(answer)
        keep(request=request, answer=answer)

    monkeypatch.setattr(events, "publish_text", lambda user, event: told.append((user, event)))
    monkeypatch.setattr(publisher, "request_words", keep_and_note)
    monkeypatch.setattr(publisher, "WORDS_SECONDS", 0.0)
    monkeypatch.setattr(publisher, "STEP_SECONDS", 0.0)
    request_describe(user=alice, source_upload=shown)
    request = serve(room)
    assert (request.state, request.error_message, request.lease_token) == ("completed", "", None)
    assert request.answer and kept[-1] == request.answer
    assert not Image.objects.exists()
    assert [path for path in storage.path("images").rglob("*") if path.is_file()] == []
    assert {user for user, _ in told} == {alice.pk}
    said = [event["words"] for _, event in told if event["type"] == "request.words"]
    assert said[-1] == {"id": str(request.pk), "run": request.run, "text": request.answer}
    assert len(said) >= 3 and all(request.answer.startswith(words["text"]) for words in said)
    states = [event["request"]["state"] for _, event in told if "request" in event]
    assert list(dict.fromkeys(states))[-3:] == ["running", "saving", "completed"]
    assert [event["request"]["answer"] for _, event in told if event["type"] == "request.completed"] == [request.answer]
    looking.refresh_from_db()
    assert looking.seconds_per_picture is None, "words are no pictures"


def test_a_description_is_canceled_like_a_drawing(
    room: RoomClient, alice: User, looking: Checkpoint, shown: Upload
) -> None:
    request_describe(user=alice, source_upload=shown)
    request = serve(room, before=lambda request: request_cancel(request=request))
    assert (request.state, request.answer) == ("canceled", "")


def test_a_picture_that_went_away_fails_with_a_reason(
    room: RoomClient, alice: User, looking: Checkpoint, shown: Upload
) -> None:
    request_describe(user=alice, source_upload=shown)
    shown.delete()
    request = serve(room)
    assert (request.state, request.error_code) == ("failed", "source_missing")


def test_a_room_that_says_nothing_has_not_answered(alice: User, looking: Checkpoint, shown: Upload) -> None:
    silent = SimpleNamespace(generate_together=lambda *args, **more: (item for item in ()), cancel=lambda place: None)
    request_describe(user=alice, source_upload=shown)
    assert serve(silent).state == "queued", "the room is to blame, so it is tried again"
