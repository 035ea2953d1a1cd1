"""The studio's socket: joins the one group of its user, sends a snapshot, then forwards what arrives.

Text goes out at once, frames only against credit (Daphne has no backpressure). It changes no row.
"""

import asyncio
import json
import logging
import random
import time
import uuid
from typing import Any

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, WebSocketScope
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import DatabaseError

from accounts.models import User
from core.push import news_group, user_group
from generation import inbound, live, sessions, snapshot
from generation.events import Frame, TextEvent
from generation.models import GenerationRequest
from generation.outbox import Outbox

logger = logging.getLogger(__name__)

CLOSE_LOGGED_OUT = 4401
CLOSE_STALLED = 4408
CLOSE_TOO_MUCH = 4429
# A logout closes the socket before it deletes the session, so a socket opened in between is found by an early look.
FIRST_CHECK_SECONDS = 2.0
TICK_SECONDS = 2.0
SPREAD = 0.25  # sockets that were opened together, after a restart, shall not all be looked at together
SNAPSHOT_SECONDS = 1.0
FINAL = frozenset(map(str, GenerationRequest.FINAL))


class StudioConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One open page of one person."""

    user: User | None = None
    watch: asyncio.Task[None] | None = None
    ended = False
    snapshot_at = float("-inf")
    since: int | None = None  # of a page that only wants to hear of ends
    group = staticmethod(user_group)

    async def __call__(self, scope: WebSocketScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the socket; whatever ends it, nothing of it stays."""
        self.outbox, self.budget = Outbox(), inbound.Budget()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.ended = True
            if self.watch is not None:
                self.watch.cancel()
            if self.user is not None:
                sessions.leave(self.user.pk)
                await self.channel_layer.group_discard(self.group(self.user.pk), self.channel_name)

    async def connect(self) -> None:
        """Accepts first: a browser cannot read the code of a refused handshake."""
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.end(CLOSE_LOGGED_OUT, "Log in first.")
        elif not sessions.enter(user.pk):
            await self.end(CLOSE_TOO_MUCH, "Too many windows are open.")
        else:
            self.user = user
            # The group before the snapshot: what happens in between is told twice rather than never.
            self.since = inbound.parse_news(self.scope["query_string"])
            self.group = user_group if self.since is None else news_group
            await self.channel_layer.group_add(self.group(user.pk), self.channel_name)
            self.watch = asyncio.create_task(self.keep_watch())
            await self.begin(user)

    async def begin(self, user: User) -> None:
        """What a page hears first; one that only wants to hear of ends hears those that it missed."""
        if self.since is None:
            await self.send_snapshot(user)
        else:
            await self.tell(await database_sync_to_async(snapshot.news)(user, self.since))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """One message of the browser."""
        if self.user is None or self.ended:
            return
        try:
            content = inbound.parse(text_data)
            # News of the client's progress is free: there is no more of it than of frames.
            if content["type"] == "ack" and self.outbox.acknowledge(inbound.parse_int(content.get("n")), _now()):
                await self.pump()
            elif self.budget.take(_now(), inbound.COSTS.get(content["type"], 1.0)):
                await self.obey(self.user, content)
            else:
                await self.end(CLOSE_TOO_MUCH, "Too many messages.")
        except inbound.InboundError as error:
            await self.complain(str(error))

    async def obey(self, user: User, content: dict[str, Any]) -> None:
        """Do what the browser asks."""
        match content["type"]:
            case "ack":
                logger.debug("An acknowledgement came late or twice")
            case "ping":
                await self.tell({"type": "pong"})
            case _ if self.since is not None:
                raise inbound.InboundError("This page only hears of ends.")
            case "snapshot":
                # A page that has just had one needs no other, and a flood of them is not answered.
                if _now() - self.snapshot_at > SNAPSHOT_SECONDS:
                    await self.send_snapshot(user)
            case "resume":
                await self.resume(user, inbound.parse_resume(content))
            case _:
                raise inbound.InboundError("That type is not known.")

    async def resume(self, user: User, wish: inbound.Resume) -> None:
        """State and lacking frames of one request, if it is the user's own."""
        payload = await database_sync_to_async(snapshot.of_request)(user, wish.request)
        if payload is None:
            raise inbound.InboundError("No such request.")
        final = payload["state"] == GenerationRequest.State.COMPLETED
        await self.tell({"type": "request.completed" if final else "request.state", "request": payload})
        if payload["state"] in snapshot.DRAWN:
            self.outbox.rewind(wish.request, wish.run, wish.have)
            await self.pump()

    async def studio_text(self, message: dict[str, Any]) -> None:
        """Forward an event; a final state ends the frames of its request."""
        request = message["event"].get("request")
        if request and request["state"] in FINAL:
            self.outbox.forget(uuid.UUID(request["id"]))
        await self.tell(message["event"])

    async def studio_frame(self, message: dict[str, Any]) -> None:
        """Forward a fragment or preview if there is credit."""
        try:
            frame = Frame.unpack(message["frame"])
        except ValueError:
            logger.warning("A broken frame was dropped")
            return
        if self.outbox.offer(frame):
            await self.send_frame(frame, message["frame"])
        await self.pump()

    async def studio_close(self, message: dict[str, Any]) -> None:
        """Logout, deactivation, password change."""
        await self.end(CLOSE_LOGGED_OUT, message["reason"])

    async def pump(self) -> None:
        """Spend credit: previews that wait, then what is lacking from the live store."""
        while frame := self.outbox.next_preview():
            await self.send_frame(frame, frame.pack())
        while not self.ended and (behind := self.outbox.next_behind()):
            key, track = behind
            room = self.outbox.credit
            packed = await asyncio.to_thread(live.missing, key, run=track.run, have=dict(track.have), limit=room)
            for data in packed:
                await self.send_frame(Frame.unpack(data), data)
            track.behind = len(packed) >= room

    async def send_snapshot(self, user: User) -> None:
        """What is open, from the database, then what has been drawn of it."""
        self.snapshot_at = _now()
        event, running = await database_sync_to_async(snapshot.of_user)(user)
        await self.tell(event)
        for request_id in running:
            self.outbox.follow(request_id)
        await self.pump()

    async def keep_watch(self) -> None:
        """End the socket when its client stops reading or its session ends."""
        due = _now() + FIRST_CHECK_SECONDS
        while not self.ended and self.user is not None:
            await asyncio.sleep(TICK_SECONDS)
            if self.outbox.stalled(_now(), settings.SOCKET_STALL_SECONDS):
                await self.end(CLOSE_STALLED, "This page stopped reading.")
            elif _now() >= due:
                due = _now() + settings.SOCKET_CHECK_SECONDS * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311
                await self.check_session(self.user.pk)

    async def check_session(self, user_id: uuid.UUID) -> None:
        """Ask the database; one that cannot answer now is asked again later."""
        try:
            holds = await database_sync_to_async(sessions.session_holds)(self.scope["session"].session_key, user_id)
        except DatabaseError:
            logger.warning("A session could not be checked", exc_info=True)
            return
        if not holds:
            await self.end(CLOSE_LOGGED_OUT, "Logged out.")

    async def send_frame(self, frame: Frame, packed: bytes) -> None:
        """One binary frame, against credit."""
        if not self.ended:
            self.outbox.took(frame, _now())
            await self.send(bytes_data=packed)

    async def tell(self, event: TextEvent | dict[str, Any]) -> None:
        """One text frame."""
        if not self.ended:
            await self.send(text_data=json.dumps(event))

    async def complain(self, message: str) -> None:
        """Answer what cannot be done."""
        await self.tell({"type": "error", "message": message})

    async def end(self, code: int, reason: str) -> None:
        """Say why, and close. Only the first counts."""
        await self.tell({"type": "close", "message": reason})
        if not self.ended:
            self.ended = True
            await self.close(code, reason)


def _now() -> float:
    return time.monotonic()
