"""The cast and the stage: alice (owner), bob (project member), charlie (stranger), olga (operator), nobody."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import DjangoDbBlocker

from accounts.models import User
from generation.models import Membership, Project
from tests.generation.cluster import database

# Two test processes and the portals of both share the machine: teams of threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def stage(settings: object, tmp_path: Path) -> Iterator[Path]:
    """Files of a test live in its own folder; events stay in this process."""
    settings.DATA = tmp_path  # type: ignore[attr-defined]
    settings.MEDIA_ROOT = tmp_path / "media"  # type: ignore[attr-defined]
    settings.LIVE_ROOT = tmp_path / "live"  # type: ignore[attr-defined]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}  # type: ignore[attr-defined]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]
    yield tmp_path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """A file of SQLite with all tables and nobody in them, made once, to be copied: migrations take seconds."""
    folder = tmp_path_factory.mktemp("empty")
    with django_db_blocker.unblock(), database(folder):
        call_command("migrate", verbosity=0)
    return folder / "tessera.sqlite3"


def _person(name: str, **extra: object) -> User:
    return User.objects.create_user(f"{name}@example.org", PASSWORD, name=name.capitalize(), **extra)


@pytest.fixture
def alice(db: None) -> User:
    """Owns things."""
    return _person("alice")


@pytest.fixture
def bob(db: None) -> User:
    """A member of alice's team project."""
    return _person("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """A stranger."""
    return _person("charlie")


@pytest.fixture
def olga(db: None) -> User:
    """The operator."""
    return _person("olga", is_staff=True, is_superuser=True)


@pytest.fixture
def project(alice: User) -> Project:
    """Alice's personal project."""
    return Project.objects.create(name="Personal", kind=Project.Kind.PERSONAL, owner=alice)


@pytest.fixture
def team(alice: User, bob: User) -> Project:
    """Alice's team project, with bob as viewer."""
    made = Project.objects.create(name="Team", kind=Project.Kind.TEAM, owner=alice)
    Membership.objects.create(project=made, user=bob, role=Membership.Role.VIEWER)
    return made


@pytest.fixture
def login(client: Client) -> object:
    """login(user) gives a client that is logged in as `user`."""

    def enter(user: User) -> Client:
        fresh = Client()
        fresh.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return fresh

    return enter
