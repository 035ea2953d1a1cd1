"""No bare errors where it is nobody's mistake: a locked database, a full disk, too long a form."""

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.db import OperationalError, connection
from django.test import AsyncClient, Client

from accounts.models import User
from core.outage import is_away, is_busy, is_full
from core.trouble import BUSY, DISK_FULL, TOO_LONG, sentence_of
from generation import storage
from generation.models import GenerationRequest, Image, Project
from tests.conftest import PASSWORD
from tests.generation import pictures

Login = Callable[[User], Client]
HTMX = {"hx-request": "true"}
WRITES = {"INSERT", "UPDATE", "DELETE"}


@contextmanager
def locked() -> Iterator[None]:
    """Reads go on, as with another process that writes for ever."""

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if sql.split(maxsplit=1)[0] in WRITES:
            raise OperationalError("database is locked")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


def told(answer: Any) -> str:
    """The words of the toast."""
    return str(json.loads(answer.headers["HX-Trigger"])["toast"]["message"])


@pytest.fixture
def things(alice: User, team: Project) -> dict[str, str]:
    checkpoint = pictures.checkpoint()
    wish = {"owner": alice, "project": team, "checkpoint": checkpoint, "prompt": "a cat"}
    params = {"width": 64, "height": 64, "count": 1}
    return {
        "queued": str(GenerationRequest.objects.create(**wish).pk),
        "failed": str(GenerationRequest.objects.create(**wish, params=params, state="failed").pk),
        "image": str(pictures.image(project=team).pk),
        "team": str(team.pk),
    }


DEEDS: list[tuple[str, dict[str, str]]] = [
    ("/requests/{queued}/cancel/", {}),
    ("/requests/{failed}/retry/", {}),
    ("/requests/new/", {"prompt": "a cat", "checkpoint": "starter-diffusion", "count": "1", "project": "{team}"}),
    ("/images/{image}/trash/", {}),
    ("/images/{image}/restore/", {}),
    ("/projects/new/", {"name": "Posters"}),
    ("/projects/{team}/members/", {"do": "rename", "name": "Ours"}),
    ("/projects/{team}/members/", {"do": "add", "email": "charlie@example.org", "role": "editor"}),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("url", "form"), DEEDS)
def test_a_locked_database_is_told(
    alice: User, charlie: User, login: Login, things: dict[str, str], url: str, form: dict[str, str]
) -> None:
    client = login(alice)
    client.raise_request_exception = False
    address, sent = url.format(**things), {name: value.format(**things) for name, value in form.items()}
    with locked():
        page, toast = client.post(address, sent), client.post(address, sent, headers=HTMX)
    assert (page.status_code, toast.status_code) == (503, 503)
    assert BUSY in page.content.decode()
    assert (told(toast), toast.headers["HX-Reswap"]) == (BUSY, "none")


@pytest.mark.django_db(transaction=True)
def test_a_locked_database_at_the_first_visit_and_at_the_login(charlie: User, login: Login) -> None:
    client = login(charlie)
    client.raise_request_exception = False
    nobody = Client(raise_request_exception=False)
    with locked():
        assert client.get("/").status_code == 503
        answer = nobody.post("/accounts/login/", {"login": charlie.email, "password": PASSWORD})
    assert answer.status_code == 503
    assert BUSY in answer.content.decode()


@pytest.mark.django_db(transaction=True)
async def test_the_same_for_an_asynchronous_server(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OperationalError("database or disk is full")

    client = AsyncClient(raise_request_exception=False)
    await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    monkeypatch.setattr("generation.services.projects.project_create", full)
    answer = await client.post("/projects/new/", {"name": "Posters"})
    assert answer.status_code == 503
    assert DISK_FULL in answer.content.decode()


@pytest.mark.parametrize("url", ["/uploads/new/", "/requests/new/"])
def test_a_disk_that_is_full_while_a_form_is_read(alice: User, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    def full(handler: TemporaryFileUploadHandler, *args: object) -> None:
        handler.file.close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TemporaryFileUploadHandler, "receive_data_chunk", full)
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    client.cookies["csrftoken"] = "a" * 32  # so that the form is read for the other half
    file = SimpleUploadedFile("cat.png", bytes(3 * 1024 * 1024))
    answer = client.post(url, {"source_file": file}, headers=HTMX)
    assert (answer.status_code, told(answer)) == (503, DISK_FULL)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_a_picture_is_kept(
    alice: User, login: Login, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(*args: object) -> None:
        raise OSError(code, "full")

    monkeypatch.setattr("generation.storage.disk.os.fsync", full)
    client = login(alice)
    client.raise_request_exception = False
    file = SimpleUploadedFile("cat.png", pictures.png())
    answer = client.post("/uploads/new/", {"source_file": file}, headers=HTMX)
    assert (answer.status_code, told(answer)) == (503, DISK_FULL)
    assert [path for path in storage.path("").rglob("*") if path.is_file()] == []
    assert not Image.objects.exists()


def test_a_prompt_of_three_megabytes(alice: User, login: Login) -> None:
    client, form = login(alice), {"prompt": "a" * 3_000_000}
    page, toast = client.post("/requests/new/", form), client.post("/requests/new/", form, headers=HTMX)
    assert (page.status_code, toast.status_code) == (413, 413)
    assert TOO_LONG in page.content.decode()
    assert told(toast) == TOO_LONG


@pytest.mark.parametrize(
    ("error", "full", "busy"),
    [
        (OperationalError("database or disk is full"), True, False),
        (OSError(errno.ENOSPC, "No space left on device"), True, False),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True, False),
        (OperationalError("database is locked"), False, True),
        (OperationalError("disk I/O error"), False, True),
        (OperationalError("unable to open database file"), False, True),
        (OperationalError("no such column: accounts_user.full_name"), False, False),
        (OperationalError("no such table: full"), False, False),
        (OSError(errno.EBADF, "Bad file descriptor"), False, False),
        (ValueError("database is locked"), False, False),
        (None, False, False),
    ],
)
def test_what_is_full_and_what_is_busy(error: Exception | None, full: bool, busy: bool) -> None:
    assert (is_full(error), is_busy(error)) == (full, busy)
    assert sentence_of(error) == (DISK_FULL if full else BUSY if busy else None)


def test_a_missing_column_is_not_told_as_a_bad_moment(
    alice: User, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(*args: object, **kwargs: object) -> None:
        raise OperationalError("no such column: generation_project.colour")

    client = login(alice)
    client.raise_request_exception = False
    monkeypatch.setattr("generation.services.projects.project_create", old)
    answer = client.post("/projects/new/", {"name": "Posters"})
    assert answer.status_code == 500
    assert BUSY not in answer.content.decode()


def test_our_own_mistakes_stay_ours(alice: User, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EBADF, "bad descriptor")

    client = login(alice)
    client.raise_request_exception = False
    monkeypatch.setattr("generation.services.projects.project_create", wrong)
    answer = client.post("/projects/new/", {"name": "Posters"})
    assert answer.status_code == 500
    assert b"Something went wrong" in answer.content
    assert sentence_of(None) is None


@pytest.mark.parametrize(
    "words",
    [
        "connection failed: connection to server at 127.0.0.1 failed: Connection refused",
        "server closed the connection unexpectedly",
        "terminating connection due to administrator command",
        "the database system is starting up",
        "couldn't get a connection after 10.00 sec",
    ],
)
def test_a_server_that_is_away_is_a_bad_moment(words: str) -> None:
    error = OperationalError(words)
    assert (is_away(error), is_busy(error), sentence_of(error)) == (True, True, BUSY)


def test_a_redis_that_is_away_is_a_bad_moment() -> None:
    from redis.exceptions import ConnectionError as AwayError

    assert sentence_of(AwayError("Error 111 connecting to host. Connection refused.")) == BUSY
