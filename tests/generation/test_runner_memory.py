"""What a request teaches about memory: nothing while code is read, then its need, by the way it was drawn."""

from pathlib import Path

import pytest

from accounts.models import User
from generation.engines.client import RoomClient, RoomSettings
from generation.models import Project
from generation.services.checkpoints import checkpoint_register
from tests.generation.engines.tiny import save_mosaic
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
