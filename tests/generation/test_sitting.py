"""Requests of several people at one sitting: drawn side by side, shown, saved and charged each for itself."""

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from PIL import Image as Picture

from accounts.models import User
from generation import events, scheduler, storage
from generation.engines.client import RoomClient
from generation.models import Checkpoint, DeviceCommand, GenerationRequest, Image, Membership, Project
from generation.runner import company, drawing
from generation.runner.company import Company
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.devices import command_request, device_ensure, device_pause
from generation.services.requests import request_cancel
from tests.generation.queue import submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def project(project: Project, bob: User) -> Project:
    """Alice's, in which Bob may draw."""
    Membership.objects.create(project=project, user=bob, role=Membership.Role.EDITOR)
    return project


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """(user, request) of every frame, in the order in which they were shown."""
    frames: list[tuple[uuid.UUID, uuid.UUID]] = []
    monkeypatch.setattr(events, "publish_frame", lambda user, frame: frames.append((user, frame.request)))
    return frames


def sit(room: RoomClient, companions: Callable[[int], Sequence[GenerationRequest]] | None = None) -> Pulse:
    """Serve the next request and its company."""
    device, pulse = device_ensure(), Pulse()
    first = scheduler.claim_next(device, [])
    assert first is not None
    Sitting(room, pulse, companions or Company(device, first)).serve(first)
    assert pulse.drawing is None, "no lease is left"
    return pulse


def states() -> dict[int, str]:
    """By the seed that was asked for."""
    return {request.params["seed"]: request.state for request in GenerationRequest.objects.all()}


def alone(room: RoomClient, user: User, project: Project, checkpoint: Checkpoint, seed: int) -> bytes:
    request = submit(user, project, checkpoint, seed=seed)
    sit(room, lambda pictures: ())
    return storage.picture_path(Image.objects.get(request=request)).read_bytes()


def test_two_people_are_drawn_for_at_once(
    room: RoomClient,
    alice: User,
    bob: User,
    project: Project,
    mosaic: Checkpoint,
    shown: list[tuple[uuid.UUID, uuid.UUID]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(company, "POLL_SECONDS", 0.0)
    first, second = submit(alice, project, mosaic, seed=5), submit(bob, project, mosaic, seed=6)
    sit(room)
    assert states() == {5: "completed", 6: "completed"}
    assert {(alice.pk, first.pk), (bob.pk, second.pk)} == set(shown), "nobody sees the other's"
    switches = sum(one != other for one, other in zip(shown, shown[1:], strict=False))
    assert switches > 10, "one after the other there would be one"
    rows = [GenerationRequest.objects.get(pk=request.pk) for request in (first, second)]
    assert all(0 < row.device_seconds < row.figures["total_seconds"] for row in rows)
    assert [row.lease_token for row in rows] == [None, None]
    pictures = {image.seed: storage.picture_path(image).read_bytes() for image in Image.objects.all()}
    assert _pixels(pictures[5]) == _pixels(alone(room, alice, project, mosaic, 5))
    assert _pixels(pictures[6]) == _pixels(alone(room, bob, project, mosaic, 6))


def test_a_cancel_and_a_fault_of_one_leave_the_others_alone(
    room: RoomClient, alice: User, bob: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = device_ensure()
    requests = {seed: submit(alice if seed % 2 else bob, project, mosaic, seed=seed) for seed in (1, 2, 3)}
    heard: list[int] = []
    hear = drawing.Drawing.hear

    def breaks(self: drawing.Drawing, reply: object) -> None:
        seed = self.request.params["seed"]
        heard.append(seed)
        if seed == 2 and heard.count(2) == 4:
            request_cancel(request=self.request)
        if seed == 3 and heard.count(3) == 4:
            raise RuntimeError("a fault of ours")
        hear(self, reply)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing.Drawing, "hear", breaks)
    monkeypatch.setattr(drawing, "POLL_SECONDS", 0.0)

    def companions(pictures: int) -> Sequence[GenerationRequest]:
        found = scheduler.claim_companion(device, mosaic.name, 8)
        return () if found is None else (found,)

    sit(room, companions)
    assert states() == {1: "completed", 2: "canceled", 3: "failed"}
    assert GenerationRequest.objects.get(pk=requests[3].pk).error_code == "internal_error"
    assert Image.objects.count() == 1
    assert [image.request_id for image in Image.objects.all()] == [requests[1].pk]


def test_a_worker_that_stops_gives_all_of_them_back(
    room: RoomClient, alice: User, bob: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, mosaic, seed=1), submit(bob, project, mosaic, seed=2)
    device, pulse = device_ensure(), Pulse()
    first = scheduler.claim_next(device, [])
    assert first is not None
    seen: list[int] = []
    hear = drawing.Drawing.hear

    def stops(self: drawing.Drawing, reply: object) -> None:
        seen.append(self.request.params["seed"])
        if seen.count(2) > 3:
            pulse.leave(0)
        hear(self, reply)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing.Drawing, "hear", stops)
    monkeypatch.setattr(company, "POLL_SECONDS", 0.0)
    Sitting(room, pulse, Company(device, first)).serve(first)
    assert states() == {1: "queued", 2: "queued"}
    assert set(GenerationRequest.objects.values_list("attempt", flat=True)) == {0}


def test_who_is_asked_to_join(
    alice: User, bob: User, project: Project, mosaic: Checkpoint, diffusion: Checkpoint, settings: Any
) -> None:
    settings.SIDE_BY_SIDE = 4
    device = device_ensure()
    submit(alice, project, mosaic, seed=1)
    first = scheduler.claim_next(device, [])
    assert first is not None

    def asked(pictures: int = 1, of: GenerationRequest = first) -> list[int]:
        return [request.params["seed"] for request in Company(device, of)(pictures)]

    assert asked() == [], "nobody waits"
    for seed in (2, 3, 4):
        submit(bob, project, mosaic, seed=seed)
    assert asked(pictures=4) == [], "as many as there may be"
    device_pause(device=device, user=bob)
    assert asked() == []
    type(device).objects.update(paused=False)
    command_request(device=device, kind=DeviceCommand.Kind.UNLOAD, user=None)
    assert asked() == [], "an operator waits for the end"
    DeviceCommand.objects.all().delete()
    GenerationRequest.objects.filter(params__seed=2).update(params={"seed": 2, "count": 2, "width": 32, "height": 32})
    assert asked(pictures=3) == [], "there would be five"
    assert asked(pictures=2) == [2]
    again = Company(device, first)
    again(1), again(1)
    assert states()[4] == "queued", "one at a time, not in one breath"
    GenerationRequest.objects.filter(params__seed=3).delete()
    GenerationRequest.objects.filter(params__seed=4).update(attempt=1)
    assert asked() == [], "it broke off once, perhaps by its own fault"
    GenerationRequest.objects.filter(params__seed=4).update(attempt=0)
    GenerationRequest.objects.filter(pk=first.pk).update(attempt=2)
    first.refresh_from_db()
    assert asked() == [], "so did the one that is drawn"
    GenerationRequest.objects.filter(pk=first.pk).update(attempt=1)
    first.refresh_from_db()
    submit(alice, project, diffusion, seed=9)
    GenerationRequest.objects.filter(params__seed=9).update(sort_at=timezone.now() - timedelta(hours=1))
    other = GenerationRequest.objects.get(params__seed=9)
    scheduler._passed[other.pk] = timezone.now().timestamp() - settings.LONGEST_SWAP_WAIT
    GenerationRequest.objects.exclude(pk=other.pk).filter(state="queued").update(owner=alice)
    assert asked() == [], "somebody waited long enough for another checkpoint"
    other.delete()
    assert asked() == [4]


def test_a_claim_that_fails_harms_nobody(
    room: RoomClient, alice: User, bob: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, mosaic, seed=1), submit(bob, project, mosaic, seed=2)
    monkeypatch.setattr(company, "POLL_SECONDS", 0.0)
    claims: list[int] = []

    def breaks(*rest: object, **named: object) -> None:
        claims.append(1)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(scheduler, "claim_companion", breaks)
    sit(room)
    assert states() == {1: "completed", 2: "queued"} and claims


def test_who_cannot_be_read_is_not_claimed(
    alice: User, project: Project, mosaic: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, mosaic, seed=1), submit(alice, project, mosaic, seed=2)
    device = device_ensure()
    first = scheduler.claim_next(device, [])
    assert first is not None

    def fails(*rest: object, **named: object) -> None:
        raise OperationalError("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(QuerySet, "select_related", fails)
        assert Company(device, first)(1) == ()
    assert states()[2] == "queued", "nobody would renew its lease"
    assert Company(device, first)(1)[0].attempt == 1


def test_checkpoints_that_draw_alone_get_no_company(
    alice: User, project: Project, diffusion: Checkpoint, mosaic: Checkpoint
) -> None:
    assert (mosaic.draws_together, diffusion.draws_together) == (True, False)
    submit(alice, project, diffusion, seed=1), submit(alice, project, diffusion, seed=2)
    device = device_ensure()
    first = scheduler.claim_next(device, [])
    assert first is not None
    assert Company(device, first)(1) == ()


def _pixels(png: bytes) -> bytes:
    with Picture.open(BytesIO(png)) as picture:
        return picture.tobytes()
