"""Numbers that fail in a real engine room: no black picture is kept, nobody pays for one, the record says what drew."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from accounts.models import User
from generation import events, scheduler, storage
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.provenance import recipe_of
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.runner import drawing
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_ensure
from generation.services.requests import request_cancel
from tests.generation.engines import tiny
from tests.generation.engines.drawing import poison
from tests.generation.queue import submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
DECODER = Path("vae") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    with RoomClient(RoomSettings(device="cpu", threads=1, stall_seconds=120)) as opened:
        yield opened


def draw(room: RoomClient) -> GenerationRequest:
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    Sitting(room, Pulse()).serve(request)
    request.refresh_from_db()
    return request


def blacken(weights: Path) -> None:
    """Every number of the decoder is finite, and every picture of it is black."""
    tensors = load_file(weights)
    tensors["decoder.conv_out.weight"].zero_()
    tensors["decoder.conv_out.bias"].fill_(-5.0)
    save_file(tensors, weights, metadata={"format": "pt"})


def test_a_black_picture_fails_with_its_reason_and_costs_nothing(
    room: RoomClient, alice: User, project: Project, tmp_path: Path
) -> None:
    folder = tiny.save_diffusion(tmp_path / "black", large_decoder=True)
    blacken(folder / DECODER)
    checkpoint = checkpoint_register(path=folder)
    submit(alice, project, checkpoint)
    request = draw(room)
    assert (request.state, request.error_code) == ("failed", "blank_picture")
    assert "nothing but the colour #000000" in request.error_message
    assert request.error_hint
    assert request.device_seconds == 0
    assert not Image.objects.exists()
    assert not [path for path in storage.path("images").rglob("*") if path.is_file()]


def test_numbers_that_fail_cost_nothing(room: RoomClient, alice: User, project: Project, tmp_path: Path) -> None:
    folder = tiny.save_diffusion(tmp_path / "damaged")
    poison(folder / "unet" / "diffusion_pytorch_model.safetensors", "conv_in.weight")
    submit(alice, project, checkpoint_register(path=folder))
    request = draw(room)
    assert (request.state, request.error_code, request.device_seconds) == ("failed", "not_finite", 0)


def test_what_was_seen_before_a_cancel_is_charged(
    room: RoomClient, alice: User, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoint_register(path=tiny.save_diffusion(tmp_path / "long"))
    asked = submit(alice, project, checkpoint, count=4, steps=150)
    monkeypatch.setattr(events, "publish_frame", lambda user, frame: request_cancel(request=asked))
    monkeypatch.setattr(drawing, "POLL_SECONDS", 0.0)
    request = draw(room)
    assert request.state == "canceled"
    assert request.device_seconds > 0
    end = request.usage.get(kind="settle")
    assert (end.used_ms, end.device, end.pictures) == (round(request.device_seconds * 1000), "main", 0)


def test_a_decoder_that_overflows_is_widened_and_the_picture_says_so(
    room: RoomClient, alice: User, project: Project, tmp_path: Path
) -> None:
    folder = tiny.save_diffusion(tmp_path / "loud", large_decoder=True)
    tensors = load_file(folder / DECODER)
    for kind in ("weight", "bias"):
        tensors[f"decoder.conv_in.{kind}"] *= 200_000
    assert max(float(tensor.abs().max()) for tensor in tensors.values()) < torch.finfo(torch.float16).max
    save_file(tensors, folder / DECODER, metadata={"format": "pt"})
    checkpoint = checkpoint_register(path=folder)
    Checkpoint.objects.filter(pk=checkpoint.pk).update(precision="fp16")
    submit(alice, project, checkpoint)
    request = draw(room)
    assert (request.state, request.error_message) == ("completed", "")
    assert request.figures["precision"] == "fp16-attention-decoder-fp32"
    assert 0 < request.device_seconds <= request.figures["total_seconds"]
    image = Image.objects.get()
    assert image.recipe["precision"] == "fp16-attention-decoder-fp32"
    assert recipe_of(storage.picture_path(image).read_bytes()) == image.recipe
