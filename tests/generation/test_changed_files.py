"""Weights that changed after they were added: not drawn with, switched off with the file's name, added again."""

from pathlib import Path

import pytest
from django.core.management import call_command

from accounts.models import User
from generation import scheduler
from generation.engines.client import RoomClient, RoomSettings
from generation.models import GenerationRequest, Project
from generation.runner.pulse import Pulse
from generation.runner.sitting import Sitting
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_ensure
from tests.generation.engines.tiny import save_mosaic
from tests.generation.queue import submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def draw(room: RoomClient) -> GenerationRequest:
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    Sitting(room, Pulse()).serve(request)
    request.refresh_from_db()
    return request


def test_they_are_switched_off_until_they_are_added_again(alice: User, project: Project, tmp_path: Path) -> None:
    folder = save_mosaic(tmp_path / "mine")
    checkpoint = checkpoint_register(path=folder)
    weights = folder / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with RoomClient(RoomSettings(device="cpu", threads=1, stall_seconds=120)) as room:
        submit(alice, project, checkpoint)
        request = draw(room)
        checkpoint.refresh_from_db()
        assert (request.state, request.error_code) == ("failed", "checkpoint_unusable")
        assert "model.safetensors has changed" in request.error_message
        assert (checkpoint.enabled, checkpoint.disabled_reason) == (False, request.error_message)
        call_command("add_checkpoint", str(folder), "--no-test", verbosity=0)
        checkpoint.refresh_from_db()
        submit(alice, project, checkpoint)
        assert draw(room).state == "completed"
