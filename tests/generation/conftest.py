"""More of the cast for the doors of the workshop: an editor beside bob, the viewer."""

import pytest

from accounts.models import User
from generation.models import Membership, Project
from tests.conftest import PASSWORD


@pytest.fixture
def edith(team: Project) -> User:
    """An editor of alice's team project."""
    user = User.objects.create_user("edith@example.org", PASSWORD, name="Edith")
    Membership.objects.create(project=team, user=user, role=Membership.Role.EDITOR)
    return user
