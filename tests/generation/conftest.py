"""More of the cast for the doors of the workshop: an editor beside bob, the viewer; and downloads signed or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from generation.engines.client import RoomClient, RoomSettings
from generation.models import Checkpoint, Membership, Project
from generation.services.checkpoints import checkpoint_register
from tests.conftest import PASSWORD
from tests.generation.engines.tiny import save_diffusion, save_mosaic
from tests.generation.signatures import certificates, put


@pytest.fixture
def edith(team: Project) -> User:
    """An editor of alice's team project."""
    user = User.objects.create_user("edith@example.org", PASSWORD, name="Edith")
    Membership.objects.create(project=team, user=user, role=Membership.Role.EDITOR)
    return user


@pytest.fixture(params=["plain", "signed"])
def signed_or_not(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    """Twice: without a certificate, and with one."""
    if request.param == "signed":
        settings.C2PA_CERTIFICATE, settings.C2PA_KEY = put(tmp_path / "c2pa", certificates())
    return str(request.param)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny checkpoints on disk."""
    folder = tmp_path_factory.mktemp("shelf")
    save_mosaic(folder / "mosaic")
    save_diffusion(folder / "diffusion")
    return folder


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    """One engine room for all tests of a file."""
    with RoomClient(RoomSettings(device="cpu", threads=1, stall_seconds=120)) as opened:
        yield opened


@pytest.fixture
def mosaic(shelf: Path, db: None) -> Checkpoint:
    """Piece by piece."""
    return checkpoint_register(path=shelf / "mosaic")


@pytest.fixture
def diffusion(shelf: Path, db: None) -> Checkpoint:
    """Preview by preview."""
    return checkpoint_register(path=shelf / "diffusion")
