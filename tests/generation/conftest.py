"""More of the cast for the doors of the workshop: an editor beside bob, the viewer; and downloads signed or not."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from generation.models import Membership, Project
from tests.conftest import PASSWORD
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
