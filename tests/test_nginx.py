"""The nginx example in front of a real web process: pictures go past the portal, and only to those who may see them."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from django.test import Client
from pytest_django import DjangoDbBlocker
from websockets.asyncio.client import connect

from accounts.models import User
from generation.models import Project
from tests.generation import pictures
from tests.generation.cluster import database
from tests.generation.test_archive import DATABASE, files, use
from tests.machines import Machine
from tests.portal import free_port
from tests.servers import Server, _answers, needed
from tests.test_deploy import DEPLOY

pytestmark = pytest.mark.processes
SESSION = "sessionid"
SECONDS = 30


@dataclass
class Site:
    """An address, who is logged in there, a picture of Alice's and what its file holds."""

    url: str
    alice: str
    charlie: str
    image: str
    file: str
    data: bytes

    def get(self, path: str, session: str | None = None, **headers: str) -> requests.Response:
        """As a browser asks."""
        cookies = {SESSION: session} if session else {}
        return requests.get(
            f"{self.url}{path}", cookies=cookies, headers=headers, timeout=SECONDS, allow_redirects=False
        )


@pytest.fixture
def site(empty_database: Path, tmp_path: Path, settings: Any, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    """A portal with a picture, one web process, and nginx as the example has it."""
    binary, data = needed("nginx"), tmp_path / "portal"
    settings.DATA, settings.MEDIA_ROOT = data, data / "media"
    data.mkdir(mode=0o700)
    port = free_port()
    own = {"TESSERA_DOWNLOADS": "accel", "TESSERA_BEHIND_PROXY": "true", "TESSERA_SECRET_KEY": settings.SECRET_KEY}
    web = Machine("web", ["web"], data, own, free_port())
    nginx = Server(
        [binary, "-p", str(tmp_path), "-c", str(_written(tmp_path, port, web.port, data))],
        lambda: _answers(port),
        tmp_path,
    )
    shutil.copy(empty_database, data / DATABASE)
    with django_db_blocker.unblock(), database(data):
        use(settings)
        people = [User.objects.get(email="alice@example.org"), User.objects.create_user("charlie@example.org", None)]
        image = pictures.image(project=Project.objects.get(name="Team"), owner=people[0])
        sessions = [_session(user) for user in people]
    try:
        web.start()
        nginx.start()
        while not _answers(web.port):
            assert web.process is not None and web.process.poll() is None, web.log.read_text()
        yield Site(f"http://localhost:{port}", *sessions, str(image.pk), image.file, files(data)[image.file])
    finally:
        nginx.stop()
        web.power_off()
        shutil.rmtree(data)


def _session(user: User) -> str:
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return str(client.cookies[SESSION].value)


def _written(folder: Path, port: int, web: int, data: Path) -> Path:
    """The example with other ports and another folder, inside of what a distribution's nginx.conf has around it."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for old, new in {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "server 127.0.0.1:8001;": f"server 127.0.0.1:{web};",
        "server 127.0.0.1:8002;": "",
        "alias /var/lib/tessera/media/;": f"alias {data}/media/;",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert not re.search(r"[^.]\b800[12]\b", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    whole = folder / "nginx.conf"
    outer = f"daemon off; {user} worker_processes 1; pid {folder}/pid; error_log stderr; events {{}}"
    whole.write_text(f"{outer} http {{ access_log off; {places}\n{text}\n}}", encoding="utf-8")
    return whole


def test_nginx_sends_pictures_to_those_who_may_see_them(site: Site) -> None:
    for door in ("download/?recipe=1", "picture.png"):
        whole = site.get(f"/images/{site.image}/{door}", site.alice)
        assert (whole.status_code, whole.content) == (200, site.data), door
        assert whole.headers["Content-Type"] == "image/png"
        assert whole.headers["X-Content-Type-Options"] == "nosniff"
        assert whole.headers["Cache-Control"] == "private, no-cache"
        assert ("attachment" in whole.headers.get("Content-Disposition", "")) == door.startswith("download")
        assert "X-Accel-Redirect" not in whole.headers
        again = site.get(f"/images/{site.image}/{door}", site.alice, **{"If-None-Match": whole.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    part = site.get(f"/images/{site.image}/picture.png", site.alice, Range="bytes=0-9")
    assert (part.status_code, part.content) == (206, site.data[:10])

    assert site.get(f"/images/{site.image}/picture.png", site.charlie).status_code == 404
    assert site.get(f"/images/{site.image}/picture.png").status_code == 302, "to the login"
    for path in (f"/_pictures/{site.file}", f"/_pictures/../_pictures/{site.file}", f"/_pictures%2f{site.file}"):
        answer = site.get(path, site.alice)
        assert answer.status_code == 404 and site.data not in answer.content, path

    assert asyncio.run(_first_message(site))["type"] == "snapshot"


async def _first_message(site: Site) -> dict[str, object]:
    """What a socket hears first."""
    async with (
        asyncio.timeout(SECONDS),
        connect(
            site.url.replace("http", "ws", 1) + "/ws/studio/",
            additional_headers={"Cookie": f"{SESSION}={site.alice}"},
            origin=site.url,  # type: ignore[arg-type]
            proxy=None,
        ) as socket,
    ):
        found: dict[str, object] = json.loads(await socket.recv())
        return found
