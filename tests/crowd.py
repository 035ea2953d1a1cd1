"""People on several machines: each has a socket at one web process, asks at another, and notes what comes to them."""

import asyncio
import io
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import requests
from PIL import Image as Picture
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from generation.events import Frame

SESSION = "sessionid"
HTTP_SECONDS = 60
PEOPLE = """
import json
from django.conf import settings
from django.test import Client
from accounts.models import User
from generation.services.projects import project_personal
made = []
for number in range({people}):
    user = User.objects.create_user(f"person{{number}}@example.org", None, name=f"Person {{number}}")
    project = project_personal(user=user)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    made.append([str(user.pk), client.cookies[settings.SESSION_COOKIE_NAME].value, str(project.pk)])
print(json.dumps(made))
"""


@dataclass
class Person:
    """Watches at `socket_at`, asks at `page_at` (addresses of web processes)."""

    session: str
    project: str
    socket_at: str
    page_at: str
    own: set[uuid.UUID] = field(default_factory=set)
    completed: dict[uuid.UUID, list[str]] = field(default_factory=dict)
    failed: dict[uuid.UUID, str] = field(default_factory=dict)
    frames: dict[uuid.UUID, int] = field(default_factory=dict)
    told: set[uuid.UUID] = field(default_factory=set)
    reconnects: int = -1
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self) -> None:
        """Hold the socket open, as a page does: come back when it breaks, acknowledge each frame."""
        address = self.socket_at.replace("http://", "ws://") + "/ws/studio/"
        headers = {"Cookie": f"{SESSION}={self.session}"}
        while True:
            try:
                async with connect(
                    address,
                    additional_headers=headers,
                    origin=self.socket_at,
                    proxy=None,
                    max_size=2**20,  # type: ignore[arg-type]
                ) as socket:
                    self.reconnects += 1
                    await self._hear(socket)
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.5)

    async def _hear(self, socket: ClientConnection) -> None:
        taken = 0
        async for message in socket:
            if isinstance(message, bytes):
                taken += 1
                request = Frame.unpack(message).request
                self.frames[request] = self.frames.get(request, 0) + 1
                await socket.send(json.dumps({"type": "ack", "n": taken}))
            else:
                self._note(json.loads(message))

    def _note(self, event: dict[str, object]) -> None:
        if event["type"] == "snapshot":
            self.ready.set()
        known = [event.get("request"), *(event.get("requests") or ())]  # type: ignore[misc]
        for request in known:
            if not isinstance(request, dict):
                continue
            key = uuid.UUID(request["id"])
            self.told.add(key)
            if request["state"] == "completed":
                self.completed[key] = [image["id"] for image in request.get("images", ())]
            elif request["state"] in {"failed", "canceled"}:
                self.failed[key] = str(request.get("error"))

    def ask(self, prompt: str, seed: int, steps: int = 4) -> None:
        """Submit the form of the studio, as a browser would."""
        token = "a" * 32
        form = {
            "csrfmiddlewaretoken": token,
            "prompt": prompt,
            "checkpoint": "starter-diffusion",
            "project": self.project,
            "size": "128x128",
            "count": "1",
            "seed": str(seed),
            "steps": str(steps),
        }
        answer = requests.post(
            f"{self.page_at}/requests/new/",
            data=form,
            cookies={SESSION: self.session, "csrftoken": token},
            headers={"HX-Request": "true", "Referer": f"{self.page_at}/"},
            timeout=HTTP_SECONDS,
        )
        assert answer.status_code == 200, answer.text[:2000]
        found = answer.text.partition('data-request="')[2].partition('"')[0]
        self.own.add(uuid.UUID(found))

    def fetch(self, image: str) -> int:
        """Download a picture; its bytes, 0 when it is none, minus the status where there is no 200."""
        answer = requests.get(
            f"{self.page_at}/images/{image}/download/", cookies={SESSION: self.session}, timeout=HTTP_SECONDS
        )
        if answer.status_code != 200:
            return -answer.status_code
        with Picture.open(io.BytesIO(answer.content)) as picture:
            picture.load()
            return len(answer.content) if picture.size == (128, 128) else 0

    @property
    def foreign(self) -> int:
        """Frames and news of requests that are somebody else's."""
        return sum(count for key, count in self.frames.items() if key not in self.own) + len(self.told - self.own)


async def all_ready(people: Sequence[Person], seconds: float) -> None:
    """Until everybody's page has had its snapshot."""
    async with asyncio.timeout(seconds):
        await asyncio.gather(*(person.ready.wait() for person in people))


async def all_done(people: Sequence[Person], seconds: float) -> bool:
    """Until each request of each has ended, as their pages were told."""
    end = time.monotonic() + seconds
    while any(len(person.completed) + len(person.failed) < len(person.own) for person in people):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.2)
    return True
