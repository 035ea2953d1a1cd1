"""The doors of picture files: whose is it, what a browser may keep, and bytes that stream."""

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image as Picture

from accounts.models import User
from generation import storage
from generation.models import Image, Project
from generation.services import projects
from generation.views.media import download_name
from tests.generation import pictures

ROOT = Path(__file__).resolve().parents[2]
DOORS = ("image_picture", "image_thumb", "image_download")
Login = Callable[[User], Client]


def status(client: Client, door: str, image: Image) -> int:
    return client.get(reverse(door, args=[image.pk])).status_code


def body(response: HttpResponse | StreamingHttpResponse) -> bytes:
    """What an ASGI server would send."""
    assert isinstance(response, StreamingHttpResponse)
    assert response.is_async

    async def read() -> bytes:
        return b"".join([chunk async for chunk in response])

    return asyncio.run(read())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("signed_or_not")
def test_members_see_strangers_do_not(
    door: str, alice: User, bob: User, edith: User, charlie: User, olga: User, team: Project, login: Login
) -> None:
    image = pictures.image(project=team)
    assert [status(login(person), door, image) for person in (alice, edith, bob)] == [200, 200, 200]
    assert [status(login(person), door, image) for person in (charlie, olga)] == [404, 404]
    nobody = Client().get(reverse(door, args=[image.pk]))
    assert (nobody.status_code, nobody.url.startswith("/accounts/login/")) == (302, True)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("signed_or_not")
def test_a_personal_picture_is_its_owners(door: str, alice: User, bob: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project)
    assert status(login(alice), door, image) == 200
    assert status(login(bob), door, image) == 404


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("signed_or_not")
def test_the_trash_is_for_those_who_may_restore(
    door: str, alice: User, bob: User, edith: User, charlie: User, team: Project, login: Login
) -> None:
    image = pictures.image(project=team, trashed_at=timezone.now())
    assert [status(login(person), door, image) for person in (alice, edith, bob, charlie)] == [200, 200, 404, 404]


def test_who_was_removed_sees_nothing_more(alice: User, bob: User, team: Project, login: Login) -> None:
    image, client = pictures.image(project=team), login(bob)
    assert status(client, "image_picture", image) == 200
    projects.member_remove(actor=alice, project=team, member=bob)
    assert status(client, "image_picture", image) == 404


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("signed_or_not")
def test_only_looking(door: str, alice: User, project: Project, login: Login) -> None:
    url = reverse(door, args=[pictures.image(project=project).pk])
    assert [getattr(login(alice), method)(url).status_code for method in ("post", "put", "delete")] == [405] * 3


def test_the_bytes_are_the_file_and_the_headers_keep_it_private(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project)
    response = login(alice).get(reverse("image_picture", args=[image.pk]))
    data = storage.picture_path(image).read_bytes()
    assert body(response) == data
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Length"] == str(len(data))
    assert response.headers["ETag"] == f'"{image.sha256}"'
    assert response.headers["Cache-Control"] == "private, no-cache"  # asked for anew each time, by its ETag
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Cookie" in response.headers["Vary"]  # another session on the same computer asks again
    assert "Content-Disposition" not in response.headers


def test_the_thumbnail_is_webp(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project, width=800, height=400)
    response = login(alice).get(reverse("image_thumb", args=[image.pk]))
    assert response.headers["Content-Type"] == "image/webp"
    with Picture.open(io.BytesIO(body(response))) as small:
        assert (small.format, small.size) == ("WEBP", (384, 192))


@pytest.mark.parametrize("door", DOORS)
def test_what_the_browser_has_is_not_sent_again(
    door: str, alice: User, charlie: User, project: Project, login: Login
) -> None:
    client, url = login(alice), reverse(door, args=[pictures.image(project=project).pk])
    etag = client.get(url).headers["ETag"]
    again = client.get(url, headers={"if-none-match": f'"other", W/{etag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert "private" in again.headers["Cache-Control"]
    assert client.get(url, headers={"if-none-match": '"other"'}).status_code == 200
    assert login(charlie).get(url, headers={"if-none-match": etag}).status_code == 404


def test_head_tells_the_length_and_sends_nothing(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project)
    response = login(alice).head(reverse("image_picture", args=[image.pk]))
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(image.size_bytes)
    assert response.headers["Content-Type"] == "image/png"


@pytest.mark.usefixtures("signed_or_not")
def test_the_download_carries_the_recipe_and_a_readable_name(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project, prompt="A cat left of the pizza", seed=7)
    response = login(alice).get(reverse("image_download", args=[image.pk]))
    assert response.headers["Content-Disposition"] == 'attachment; filename="cat-left-of-pizza-seed7.png"'
    with Picture.open(io.BytesIO(body(response))) as picture:
        words = " ".join(str(value) for value in picture.info.values())
    assert "A cat left of the pizza" in words


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a cat", "cat-seed7.png"),
        ("../../etc/passwd\r\nX-Evil: 1", "etcpasswd-x-evil-1-seed7.png"),
        ('the "quoted" & <b>bold</b>', "quoted-bboldb-seed7.png"),
        ("🦊🦊", "picture-seed7.png"),
        ("the", "picture-seed7.png"),
        ("eine Katze auf grünem Grund", "eine-katze-auf-grünem-grund-seed7.png"),
        ("一只猫", "一只猫-seed7.png"),
        ("word " * 60, "word-word-word-word-word-word-word-word-word-seed7.png"),
        ("x" * 300, "x" * 48 + "-seed7.png"),
        ("-- _ --", "picture-seed7.png"),
    ],
)
def test_names_are_safe(prompt: str, name: str) -> None:
    assert download_name(Image(prompt=prompt, seed=7)) == name


def test_a_name_in_any_script_goes_into_the_header(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project, prompt="一只猫")
    header = login(alice).get(reverse("image_download", args=[image.pk])).headers["Content-Disposition"]
    assert header == "attachment; filename*=utf-8''%E4%B8%80%E5%8F%AA%E7%8C%AB-seed7.png"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("signed_or_not")
def test_a_missing_file_is_a_page_not_a_crash(door: str, alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project)
    storage.picture_path(image).unlink()
    storage.thumb_path(image).unlink()
    response = login(alice).get(reverse(door, args=[image.pk]))
    assert response.status_code == 410
    assert b"is gone" in response.content
    assert "no-store" in response.headers["Cache-Control"]
    assert "Content-Disposition" not in response.headers


def test_one_query_decides_and_it_seeks(alice: User, team: Project, login: Login) -> None:
    image, client = pictures.image(project=team), login(alice)
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse("image_picture", args=[image.pk]))
    asked = [query["sql"] for query in queries if "generation_image" in query["sql"]]
    assert len(asked) == 1
    assert len(queries) == 3  # session, person, picture
    plan = Image.objects.readable_by(alice).filter(pk=image.pk).explain()
    assert "SCAN" not in plan, plan


def test_an_asynchronous_client_reads_a_large_picture_in_pieces(alice: User, project: Project) -> None:
    """Inside async_to_sync the views' threads are this one, so they see this test's transaction."""
    image = pictures.image(project=project, width=800, height=600)

    async def read() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
        response = await client.get(reverse("image_picture", args=[image.pk]))
        return [chunk async for chunk in response]

    chunks = async_to_sync(read)()
    assert len(chunks) > 1
    assert b"".join(chunks) == storage.picture_path(image).read_bytes()


SETUP = """
import json
from accounts.models import User
from django.contrib.sessions.backends.db import SessionStore
from generation.services.projects import project_personal
from tests.generation import pictures
from generation import storage
owner = User.objects.create_user("alice@example.org", "correct horse battery")
image = pictures.image(project=project_personal(owner), width=1600, height=1200)
session = SessionStore()
session["_auth_user_id"] = str(owner.pk)
session["_auth_user_backend"] = "allauth.account.auth_backends.AuthenticationBackend"
session["_auth_user_hash"] = owner.get_session_auth_hash()
session.create()
print(json.dumps({"image": str(image.pk), "session": session.session_key, "file": str(storage.picture_path(image))}))
"""


@pytest.mark.processes
def test_a_real_daphne_sends_the_file(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TESSERA_DATA": str(tmp_path / "data"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
    shell = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", SETUP]
    told = json.loads(subprocess.run(shell, cwd=ROOT, env=environment, check=True, capture_output=True).stdout)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "core.bounded_daphne",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "config.asgi:application",
    ]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/images/{told['image']}/"
        cookie = {"Cookie": f"sessionid={told['session']}"}
        with _open(urllib.request.Request(f"{address}picture.png", headers=cookie)) as answer:
            data, headers = answer.read(), answer.headers
        assert data == Path(told["file"]).read_bytes()
        assert len(data) > 2**20
        assert headers["Content-Length"] == str(len(data))
        with _open(urllib.request.Request(f"{address}picture.png", headers=cookie, method="HEAD")) as answer:
            assert (answer.read(), answer.headers["Content-Length"]) == (b"", str(len(data)))
        with pytest.raises(urllib.error.HTTPError) as unchanged:
            _open(urllib.request.Request(f"{address}picture.png", headers={**cookie, "If-None-Match": headers["ETag"]}))
        unchanged.value.close()
        assert unchanged.value.code == 304
        with _open(urllib.request.Request(f"{address}picture.png")) as login:
            assert "/accounts/login/" in login.url
    finally:
        server.terminate()
        server.wait(20)


def _open(request: urllib.request.Request) -> "urllib.response.addinfourl":  # type: ignore[name-defined]
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(request, timeout=20)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_a_proxy_sends_what_leaves_as_it_is_kept(alice: User, project: Project, login: Login, settings: Any) -> None:
    settings.DOWNLOADS = "accel"
    image, client = pictures.image(project=project), login(alice)
    answer = client.get(reverse("image_download", args=[image.pk]) + "?recipe=1")
    assert answer.headers["X-Accel-Redirect"] == f"/_pictures/{image.file}"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert (answer.headers["Content-Type"], answer.content) == ("image/png", b"")
    thumb = client.get(reverse("image_thumb", args=[image.pk]))
    assert thumb.headers["X-Accel-Redirect"] == f"/_pictures/{storage.thumb_name(image.file)}"
    bare = client.get(reverse("image_download", args=[image.pk]) + "?recipe=0")
    assert "X-Accel-Redirect" not in bare.headers
    assert body(bare), "the portal itself takes the recipe out"
