"""Opens the studio's socket as a person, through the whole ASGI application: cookie, session, origin."""

import asyncio
import json
from typing import Any

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client

from accounts.models import User

ORIGIN = (b"origin", b"http://localhost")


def cookie_of(user: User) -> str:
    """Log in and give the session's key."""
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


class Page:
    """An open page: what it has heard, and what it says."""

    def __init__(
        self, session_key: str | None, origin: tuple[bytes, bytes] = ORIGIN, address: str = "/ws/studio/"
    ) -> None:
        from config.asgi import application

        headers = [origin, (b"host", b"localhost")]
        if session_key is not None:
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session_key}".encode()))
        self.socket = WebsocketCommunicator(application, address, headers=headers)

    async def open(self) -> bool:
        """Connect; whether the handshake was accepted."""
        accepted, _ = await self.socket.connect(timeout=10)
        return bool(accepted)

    async def hear(self) -> dict[str, Any] | bytes:
        """The next frame; a close comes as {"closed": code}."""
        message = await self.socket.receive_output(timeout=10)
        if message["type"] == "websocket.close":
            return {"closed": message["code"]}
        return message["bytes"] if message.get("bytes") is not None else json.loads(message["text"])

    async def hear_text(self, kind: str) -> dict[str, Any]:
        """The next text frame of this type; others are passed over."""
        while True:
            heard = await self.hear()
            if isinstance(heard, dict) and heard.get("type") == kind:
                return heard

    async def hear_close(self) -> int:
        """The code with which the server closes."""
        while True:
            heard = await self.hear()
            if isinstance(heard, dict) and "closed" in heard:
                return int(heard["closed"])

    async def frames(self, seconds: float = 0.3) -> list[bytes]:
        """All binary frames until it is silent."""
        found: list[bytes] = []
        while True:
            if await self.socket.receive_nothing(timeout=seconds, interval=0.02):
                return found
            heard = await self.hear()
            if isinstance(heard, bytes):
                found.append(heard)

    async def say(self, **content: Any) -> None:
        """One message to the server."""
        await self.socket.send_to(text_data=json.dumps(content))

    async def leave(self) -> None:
        """Close the page."""
        await self.socket.disconnect(timeout=10)


async def enter(user: User) -> Page:
    """A page of `user` that has had its snapshot."""
    page = Page(await sync_to_async(cookie_of)(user))
    assert await page.open()
    await page.hear_text("snapshot")
    return page


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait for `condition()`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
