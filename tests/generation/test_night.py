"""Requests of the night give way between two pictures, and lose nothing by it."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image as Picture

from accounts.models import User
from generation import payloads, scheduler, storage
from generation.engines.client import RoomClient
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.runner.company import Company
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_ensure
from generation.services.requests import request_cancel
from generation.services.transitions import request_fail, request_keep
from generation.views.cards import card_of
from tests.generation.queue import lease, make_checkpoint, submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def serve(room: RoomClient) -> GenerationRequest:
    """The next one, as a worker does."""
    device = device_ensure()
    request = scheduler.claim_next(device, [])
    assert request is not None
    Sitting(room, Pulse(), Company(device, request)).serve(request)
    request.refresh_from_db()
    return request


def pictures(request: GenerationRequest) -> dict[int, tuple[int, bytes]]:
    """Seed and pixels by index."""
    return {
        image.index: (image.seed, _pixels(storage.picture_path(image).read_bytes()))
        for image in Image.objects.filter(request=request)
    }


def test_now_is_drawn_between_two_pictures_of_the_night(
    room: RoomClient, alice: User, bob: User, project: Project, diffusion: Checkpoint
) -> None:
    night = submit(alice, project, diffusion, "overnight", count=3, seed=40)
    assert serve(room).pk == night.pk
    night.refresh_from_db()
    assert (night.state, night.kept, night.attempt) == ("queued", 1, 0)
    payload = payloads.request_payload(night)
    assert (payload["kept"], [image["index"] for image in payload["images"]]) == (1, [0])
    card = card_of(GenerationRequest.objects.all(), night.pk, alice)
    assert [slot.image is not None for slot in card.slots] == [True, False, False]
    assert card.percent == 33

    urgent = submit(alice, project, diffusion, seed=1)
    assert [serve(room).pk for _ in range(3)] == [urgent.pk, night.pk, night.pk]
    night.refresh_from_db()
    assert night.state == "completed"
    whole = submit(alice, project, diffusion, count=3, seed=40)
    serve(room)
    assert pictures(night) == pictures(whole), "the same pictures as at one go"
    assert sorted(pictures(night)) == [0, 1, 2]

    end = night.usage.get(kind="settle")
    assert end.pictures == 3
    assert night.device_seconds > night.kept_seconds > 0
    assert end.used_ms == round(night.device_seconds * 1000)


def test_what_is_drawn_together_is_drawn_at_one_go(
    room: RoomClient, alice: User, project: Project, shelf: Path
) -> None:
    submit(alice, project, checkpoint_register(path=shelf / "mosaic"), "overnight", count=2)
    assert serve(room).state == "completed"


def kept_one(user: User, project: Project, diffusion: Checkpoint, room: RoomClient) -> GenerationRequest:
    request = submit(user, project, diffusion, "overnight", count=2)
    serve(room)
    request.refresh_from_db()
    assert request.kept == 1
    return request


def test_a_cancel_keeps_what_was_drawn_and_charges_it(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    request = kept_one(alice, project, diffusion, room)
    request_cancel(request=request)
    assert request.state == "canceled"
    assert request.device_seconds == request.kept_seconds > 0
    end = request.usage.get(kind="settle")
    assert (end.pictures, end.used_ms) == (1, round(request.kept_seconds * 1000))
    assert storage.picture_path(Image.objects.get(request=request)).exists()
    card = card_of(GenerationRequest.objects.all(), request.pk, alice)
    assert [slot.index for slot in card.slots] == [0]


def test_a_failure_of_the_rest_costs_what_was_kept(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    request = kept_one(alice, project, diffusion, room)
    lease(request)
    request_fail(request=request, code="blank_picture", message="It was black.")
    request.refresh_from_db()
    assert request.usage.get(kind="settle").used_ms == round(1000 * request.device_seconds) > 0


def test_who_cancels_while_a_picture_is_saved_keeps_no_more(alice: User, project: Project) -> None:
    request = submit(alice, project, make_checkpoint(), "overnight", count=2)
    lease(request, state="saving")
    request_cancel(request=request)
    assert not request_keep(request=request, pictures=[], seconds=1.0)
    request.refresh_from_db()
    assert (request.state, request.kept) == ("saving", 0)


def _pixels(png: bytes) -> bytes:
    with Picture.open(BytesIO(png)) as picture:
        return picture.tobytes()
