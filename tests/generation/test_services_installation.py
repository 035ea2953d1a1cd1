"""The first start: one administrator where nobody is, welcome pictures or a reason."""

from typing import Any

import pytest

from accounts.models import User
from core.errors import TesseraError
from generation.models import GenerationRequest
from generation.services import installation
from generation.services.installation import Administrator, administrator_ensure, welcome_submit
from tests.generation.queue import make_checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def first_start(settings: Any) -> None:
    """Nothing is given."""
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "Admin@Example.org", ""


def ensure() -> tuple[Administrator | None, list[Administrator]]:
    """Who there is, and what was told."""
    told: list[Administrator] = []
    return administrator_ensure(tell=told.append), told


def test_the_first_one_is_made_and_told_once() -> None:
    found, told = ensure()
    assert found is not None
    assert told == [found]
    user = User.objects.get()
    assert user.email == found.email == "admin@example.org"
    assert user.check_password(found.password or "")
    assert user.must_change_password
    assert ensure() == (Administrator("admin@example.org"), [])


def test_a_password_that_nobody_could_read_is_not_kept() -> None:
    def closed(administrator: Administrator) -> None:
        assert User.objects.exists()
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        administrator_ensure(tell=closed)
    assert not User.objects.exists()


@pytest.mark.parametrize("email", ["admin@example.org", "other@example.org"])
def test_where_there_are_people_nobody_is_made(settings: Any, email: str) -> None:
    ensure()
    User.objects.update(is_active=False)
    settings.ADMIN_EMAIL = email
    assert ensure() == (None, [])
    assert User.objects.count() == 1


def test_a_weak_password_is_refused_by_name(settings: Any) -> None:
    settings.ADMIN_PASSWORD = "password"
    with pytest.raises(TesseraError, match="TESSERA_ADMIN_PASSWORD.*too short"):
        ensure()
    settings.ADMIN_PASSWORD = "admin@example.org"
    with pytest.raises(TesseraError, match="TESSERA_ADMIN_PASSWORD.*similar"):
        ensure()
    assert not User.objects.exists()


def test_a_welcome_fits_into_the_queue(settings: Any) -> None:
    ensure()
    for name in ("one", "two"):
        make_checkpoint(name, is_starter=True)
    settings.MAX_QUEUED = 1
    assert len(welcome_submit()) == 1
    assert welcome_submit() == []
    GenerationRequest.objects.all().delete()
    settings.MAX_QUEUED = 0
    assert len(welcome_submit()) == 2, "0 is unlimited"


def test_a_welcome_is_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure()
    for name in ("one", "two"):
        make_checkpoint(name, is_starter=True)
    submit = installation.request_submit

    def later_smaller(**wish: Any) -> GenerationRequest:
        if GenerationRequest.objects.exists():
            wish["params"] = {**wish["params"], "width": 1}
        return submit(**wish)

    monkeypatch.setattr(installation, "request_submit", later_smaller)
    with pytest.raises(TesseraError):
        welcome_submit()
    assert not GenerationRequest.objects.exists()
