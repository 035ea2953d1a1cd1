"""Walks alice, bob, charlie, olga and nobody through every URL of the project, taken from the URL table.

A URL that is new and not yet sorted into one of the sets below fails `test_every_url_is_sorted`.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import AuditEvent, User
from generation.events import publish_text
from generation.models import GenerationRequest, Image, Project, Upload
from generation.routing import websocket_urlpatterns
from tests.generation import pictures
from tests.generation.sockets import Page, cookie_of

METHODS = ("get", "post")
# Open to everybody: they tell nothing of anybody.
PUBLIC = {
    "healthz",
    "readyz",
    "account_login",
    "account_signup",
    "account_logout",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_inactive",
    "account_confirm_email",
    "account_email_verification_sent",
    "account_confirm_login_code",
    "account_request_login_code",
    "admin:login",
    "admin:jsi18n",
}
# About yourself: everybody who is logged in has an own one.
OWN = {
    "studio",
    "history",
    "costs",
    "costs_csv",
    "activity",
    "preferences",
    "project_list",
    "project_create",
    "request_create",
    "upload_create",
    "account_change_password",
    "account_set_password",
    "account_email",
    "account_reauthenticate",
}
# Of the whole portal: operators look, nobody else.
OPERATORS = {"costs_all", "costs_all_csv"}
# Private to alice.
PRIVATE = {"request_card", "request_cancel", "request_front", "request_retry", "upload_picture", "upload_describe"}
# In alice's team project, where bob is a viewer: he may look ...
SHARED_TO_SEE = {"project_gallery", "project_members", "image_detail", "image_download", "image_picture", "image_thumb"}
# ... and ask about what he sees; the answer is his ...
SHARED_TO_ASK = {"image_describe"}
# ... but not change.
SHARED_TO_CHANGE = {"project_trash", "image_trash", "image_restore"}
OBJECTS = PRIVATE | SHARED_TO_SEE | SHARED_TO_ASK | SHARED_TO_CHANGE


@dataclass(frozen=True)
class Door:
    """One URL of the table and what its route asks for."""

    name: str
    parameters: tuple[str, ...]


def doors(resolver: URLResolver | None = None, prefix: str = "", taken: tuple[str, ...] = ()) -> Iterator[Door]:
    """Every named URL, namespaces included."""
    for pattern in (resolver or get_resolver()).url_patterns:
        parameters = (*taken, *pattern.pattern.regex.groupindex)
        if isinstance(pattern, URLResolver):
            inner = f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix
            yield from doors(pattern, inner, parameters)
        elif isinstance(pattern, URLPattern):
            yield Door(f"{prefix}{pattern.name or ''}", parameters)


def is_admin(door: Door) -> bool:
    return door.name.startswith("admin:")


@pytest.fixture
def things(alice: User, team: Project, stage: Path) -> dict[str, str]:
    """One row of everything, all of it alice's, in the team project that bob may see."""
    image = pictures.image(owner=alice, project=team)
    checkpoint = pictures.checkpoint()
    request = GenerationRequest.objects.create(owner=alice, project=team, checkpoint=checkpoint, prompt="a cat sat")
    upload = Upload.objects.create(owner=alice, file=image.file, sha256=image.sha256, width=8, height=8, size_bytes=1)
    return {"project": str(team.pk), "image": str(image.pk), "request": str(request.pk), "upload": str(upload.pk)}


def address(door: Door, things: dict[str, str]) -> str:
    """A real URL of alice's thing where the route asks for one."""
    kind = door.name.split("_")[0]
    values = {name: things.get(kind, str(uuid.uuid4())) for name in door.parameters}
    return reverse(door.name, kwargs=values)


def answers(client: Client, url: str) -> dict[str, HttpResponse]:
    """GET and POST. Whatever raises, or is a 500, fails the walk."""
    found = {method: getattr(client, method)(url) for method in METHODS}
    assert all(answer.status_code < 500 for answer in found.values()), url
    return found


def test_every_url_is_sorted() -> None:
    known = PUBLIC | OWN | OPERATORS | OBJECTS
    assert [door.name for door in doors() if not is_admin(door) and door.name not in known] == []


def test_nobody_sees_nothing(client: Client, things: dict[str, str]) -> None:
    for door in doors():
        if door.name in PUBLIC or is_admin(door):
            continue
        for method, answer in answers(client, address(door, things)).items():
            assert answer.status_code in {302, 404, 405}, (door, method, answer.status_code)
            if answer.status_code == 302:
                assert "/accounts/login/" in answer.url, (door, method)


@pytest.mark.parametrize("who", ["charlie", "olga"])
def test_a_stranger_and_the_operator_get_404(
    who: str, request: pytest.FixtureRequest, login: Callable[[User], Client], things: dict[str, str]
) -> None:
    client = login(request.getfixturevalue(who))
    for door in doors():
        if door.name in OBJECTS:
            for method, answer in answers(client, address(door, things)).items():
                assert answer.status_code in {404, 405}, (door, method, answer.status_code)
    assert Image.objects.get().trashed_at is None
    assert GenerationRequest.objects.get().state == GenerationRequest.State.QUEUED


def test_what_is_not_there_looks_like_what_is_not_yours(
    charlie: User, login: Callable[[User], Client], things: dict[str, str]
) -> None:
    client = login(charlie)
    nothing = dict.fromkeys(things, str(uuid.uuid4()))
    for door in doors():
        if door.name in OBJECTS:
            for method in METHODS:
                there = getattr(client, method)(address(door, things)).status_code
                assert there == getattr(client, method)(address(door, nothing)).status_code, (door, method)


def test_a_viewer_looks_but_does_not_change(bob: User, login: Callable[[User], Client], things: dict[str, str]) -> None:
    client = login(bob)
    for door in doors():
        if door.name in SHARED_TO_SEE:
            assert client.get(address(door, things)).status_code == 200, door
        if door.name in SHARED_TO_CHANGE:
            assert client.post(address(door, things)).status_code in {403, 404, 405}, door
        if door.name in PRIVATE:
            assert {answer.status_code for answer in answers(client, address(door, things)).values()} <= {404, 405}, (
                door
            )
    assert Image.objects.get().trashed_at is None


def test_the_owner_gets_in(alice: User, login: Callable[[User], Client], things: dict[str, str]) -> None:
    client = login(alice)
    for door in doors():
        if door.name in OWN | SHARED_TO_SEE | {"request_card", "project_trash", "upload_picture"}:
            answer = client.get(address(door, things))
            assert answer.status_code in {200, 302, 405}, (door, answer.status_code)
            assert "/accounts/login/" not in answer.headers.get("Location", ""), door


@pytest.mark.parametrize("who", ["bob", "charlie", "olga"])
def test_own_pages_tell_nothing_of_anybody_else(
    who: str, request: pytest.FixtureRequest, login: Callable[[User], Client], things: dict[str, str]
) -> None:
    client = login(request.getfixturevalue(who))
    seen = {"bob": {things["project"], things["image"]}}.get(who, set())  # he is in the team, whose covers he sees
    for door in doors():
        if door.name in OWN:
            for method, answer in answers(client, address(door, things)).items():
                assert answer.status_code != 404, (door, method)
                hidden = [*(set(things.values()) - seen), "alice@example.org", "a cat sat"]
                words = b"".join(answer).decode()
                assert [word for word in hidden if word in words] == [], (door, method)


@pytest.mark.parametrize("who", ["alice", "bob", "charlie"])
def test_pages_of_operators_are_theirs(
    who: str, request: pytest.FixtureRequest, login: Callable[[User], Client]
) -> None:
    client = login(request.getfixturevalue(who))
    for door in doors():
        if door.name in OPERATORS:
            assert {answer.status_code for answer in answers(client, address(door, {})).values()} <= {403, 405}, door


def sockets() -> list[str]:
    """Every socket of the routing table."""
    return [str(pattern.pattern) for pattern in websocket_urlpatterns]


def test_every_socket_is_sorted() -> None:
    assert set(sockets()) == {"ws/studio/"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", sockets())
async def test_every_socket_asks_who_it_is(path: str) -> None:
    page = Page(None, address=f"/{path}")
    assert await page.open()  # a browser cannot read the code of a refused handshake
    assert await page.hear_close() == 4401
    assert not await Page(None, origin=(b"origin", b"http://evil.example"), address=f"/{path}").open()


@pytest.fixture(params=["bob", "charlie", "olga"])
def somebody_else(request: pytest.FixtureRequest) -> User:
    """Anybody but alice."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", sockets())
async def test_no_socket_tells_of_alices_request(
    path: str, somebody_else: User, alice: User, things: dict[str, str]
) -> None:
    page = Page(await sync_to_async(cookie_of)(somebody_else), address=f"/{path}")
    assert await page.open()
    snapshot = await page.hear_text("snapshot")
    assert (snapshot["requests"], snapshot["positions"]) == ([], {})
    await page.say(type="resume", request=things["request"])
    assert await page.hear() == {"type": "error", "message": "No such request."}
    await sync_to_async(publish_text)(alice.pk, {"type": "error", "message": "for alice"})
    await page.say(type="ping")
    assert await page.hear() == {"type": "pong"}
    await page.leave()


@pytest.mark.parametrize("who", ["alice", "bob", "charlie", None])
def test_the_admin_is_for_operators(
    who: str | None, request: pytest.FixtureRequest, login: Callable[[User], Client], things: dict[str, str]
) -> None:
    client = login(request.getfixturevalue(who)) if who else Client()
    for door in doors():
        if is_admin(door) and door.name not in PUBLIC:
            for method, answer in answers(client, admin_address(door, things)).items():
                assert answer.status_code in {302, 403, 404}, (door, method, answer.status_code)


def test_the_operator_walks_the_admin(olga: User, login: Callable[[User], Client], things: dict[str, str]) -> None:
    client = login(olga)
    for door in doors():
        if is_admin(door):
            before = looks_of(olga)
            answer = client.get(admin_address(door, things))
            assert answer.status_code < 500, door
            if door.name.endswith("_look_picture"):  # shows it, and so writes it down
                assert looks_of(olga) - before == (answer.status_code == 200), door
            else:
                assert b"a cat" not in answer.content, f"{door} shows a private prompt"


def looks_of(operator: User) -> int:
    return AuditEvent.objects.filter(actor=operator, verb="looked at").count()


def admin_address(door: Door, things: dict[str, str]) -> str:
    """Of alice's row where the admin has one."""
    kinds = {"image": "image", "project": "project", "generationrequest": "request", "upload": "upload"}
    kind = next((kinds[part] for part in door.name.split("_") if part in kinds), "")
    values = {name: things.get(kind, str(uuid.uuid4())) for name in door.parameters}
    if "app_label" in values:
        values["app_label"] = "generation"
    if "content_type_id" in values:
        values["content_type_id"] = "1"
    if "url" in values:
        values["url"] = "nowhere/"
    return reverse(door.name, kwargs=values) if door.name != "admin:" else "/admin/nowhere/"


def test_a_look_is_written_down_and_the_owner_reads_it(
    alice: User, olga: User, login: Callable[[User], Client], things: dict[str, str]
) -> None:
    operator, owner = login(olga), login(alice)
    url = reverse("admin:generation_image_look", args=[things["image"]])
    assert b"a cat" not in operator.get(url).content
    assert b"Say why" in operator.post(url, {"reason": " "}).content
    assert "olga" not in owner.get(reverse("activity")).content.decode().lower()
    shown = operator.post(url, {"reason": "ticket 12"})
    assert b"a cat" in shown.content
    picture = reverse("admin:generation_image_look_picture", args=[things["image"], things["image"]])
    assert operator.get(picture).headers["Content-Type"] == "image/png"
    lines = owner.get(reverse("activity")).content.decode()
    assert "Olga" in lines
    assert "ticket 12" in lines
