"""Memory from row to picture in a real room: what a request teaches, how it is stepped down, and how it fails."""

from pathlib import Path

import pytest

from accounts.models import User
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.footprint import Footprint
from generation.engines.limits import Limits
from generation.models import Checkpoint, Image, Project
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_beat, device_ensure
from tests.generation.engines.tiny import save_diffusion, save_mosaic
from tests.generation.queue import submit
from tests.generation.test_runner import draw

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def test_the_need_is_learnt_once_the_code_is_there(alice: User, project: Project, tmp_path: Path) -> None:
    mosaic, needs = checkpoint_register(path=save_mosaic(tmp_path / "mosaic")), list[int]()
    with RoomClient(RoomSettings(device="cpu", threads=1)) as room:
        for _ in range(3):
            submit(alice, project, mosaic)
            needs.append(draw(room).figures["need_bytes"])
            mosaic.refresh_from_db()
            learnt = {"cpu/fp32/whole/32x32": max(needs)} if len(needs) > 1 else {}
            assert mosaic.footprint["learnt"] == learnt
    assert needs[0] == 0, "the code of a fresh room is nobody's need"
    assert 0 < max(needs) < 100_000_000


def outgrown(checkpoint: Checkpoint, *rungs: str) -> None:
    """As if more than any machine has had been measured."""
    learnt = {f"cpu/fp32/{rung}/32x32": 10**15 for rung in rungs}
    kept = Footprint.from_dict(checkpoint.footprint).with_learnt(learnt)
    Checkpoint.objects.filter(pk=checkpoint.pk).update(footprint=kept.to_dict())


def test_what_fits_only_in_a_sparing_way_is_taken_and_the_record_says_so(
    alice: User, project: Project, tmp_path: Path
) -> None:
    checkpoint = checkpoint_register(path=save_diffusion(tmp_path / "diffusion"))
    outgrown(checkpoint, "whole", "sliced")
    with RoomClient(RoomSettings(device="cpu", threads=1)) as room:
        device_beat(device=device_ensure(), worker_pid=1, status=room.start())
        for _ in range(2):
            submit(alice, project, checkpoint)
            request = draw(room)
            assert (request.state, request.figures["memory"]) == ("completed", "tiled")
    assert {image.recipe["memory"] for image in Image.objects.all()} == {"tiled"}
    checkpoint.refresh_from_db()
    assert 0 < checkpoint.footprint["learnt"]["cpu/fp32/tiled/32x32"] < 10**9


def test_what_was_taken_and_fits_no_more_fails_with_the_same_words_at_once(
    alice: User, project: Project, tmp_path: Path
) -> None:
    submit(alice, project, checkpoint_register(path=save_mosaic(tmp_path / "mosaic")))
    with RoomClient(RoomSettings(device="cpu", threads=1, limits=Limits(budget=1000))) as room:
        request = draw(room)
    assert (request.state, request.error_code, request.attempt) == ("failed", "out_of_memory", 1)
    assert "this device gives 0 MB" in request.error_message
    assert "ask an operator" in request.error_hint
