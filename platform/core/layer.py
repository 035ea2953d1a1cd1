"""A channel layer that needs no server: channels' in-memory layer in the web process, a Unix socket for everybody else.

The process that first adds a group or receives is the web process and listens; there is exactly one. All others only
send. Messages may be lost (a restart, a full queue); what they tell is in the database. Several web processes need
channels_redis, which is a change of settings only. Why it exists: docs/decisions/0004-local-channel-layer.md.
"""

import asyncio
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer

from core.sender import Sender
from core.unixsocket import Listener, peer_uid, socket_path
from core.wire import PREFIX, WireError, decode, encode, lengths

logger = logging.getLogger(__name__)

LISTEN_RETRY_SECONDS = 1.0
CLEAN_SECONDS = 1.0


class LocalChannelLayer(InMemoryChannelLayer):  # type: ignore[misc]
    """The ordinary layer API. `folder` is private to the installation and holds the socket."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder = Path(folder)
        self._sender = Sender(self._folder)
        self._home: asyncio.AbstractEventLoop | None = None
        self._home_pid = 0
        self._listener: Listener | None = None
        self._server: asyncio.Server | None = None
        self._tried_at = float("-inf")
        self._senders: set[asyncio.Task[None]] = set()
        self._cleaned_at = float("-inf")

    def _clean_expired(self) -> None:
        """Once a second, and not with every message: it looks at all channels, which are as many as sockets."""
        if time.monotonic() - self._cleaned_at >= CLEAN_SECONDS:
            self._cleaned_at = time.monotonic()
            super()._clean_expired()

    async def group_add(self, group: str, channel: str) -> None:
        """Join. Makes this process the web process."""
        await self._settle()
        await super().group_add(group, channel)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message. Makes this process the web process."""
        await self._settle()
        return dict(await super().receive(channel))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Tell a group. Never waits for anybody."""
        self.require_valid_group_name(group)
        await self._route("group", group, message)

    def group_send_soon(self, group: str, message: dict[str, Any]) -> None:
        """`group_send` for plain threads: they neither wait for the loop of the web process nor need one."""
        self.require_valid_group_name(group)
        self._hand_over("group", group, message)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Tell one channel. Raises ChannelFull only in the web process itself."""
        self.require_valid_channel_name(channel)
        await self._route("channel", channel, message)

    async def close(self) -> None:
        """Stop listening and sending."""
        self._unsettle()
        await asyncio.to_thread(self._sender.close)

    async def _route(self, target: str, name: str, message: dict[str, Any]) -> None:
        if self._living_home() is asyncio.get_running_loop():
            await self._deliver(target, name, message)
        else:
            self._hand_over(target, name, message)

    def _hand_over(self, target: str, name: str, message: dict[str, Any]) -> None:
        home = self._living_home()
        if home is not None:
            # A plain thread of the web process: its loop must be woken, or the message sleeps.
            asyncio.run_coroutine_threadsafe(self._deliver_quietly(target, name, message), home)
        else:
            self._put(target, name, message)

    def _put(self, target: str, name: str, message: dict[str, Any]) -> None:
        try:
            self._sender.put(encode(target, name, message))
        except WireError as error:
            logger.error("A message to %s was lost: %s", name, error)

    async def _deliver(self, target: str, name: str, message: dict[str, Any]) -> None:
        if target == "channel":
            await super().send(name, message)
            return
        self._clean_expired()
        for channel in list(self.groups.get(name, ())):
            try:
                await super().send(channel, message)
            except ChannelFull:
                # The consumer is far behind; it will notice the gap and read the live store.
                logger.debug("%s is full", channel)

    async def _deliver_quietly(self, target: str, name: str, message: dict[str, Any]) -> None:
        try:
            await self._deliver(target, name, message)
        except (ChannelFull, TypeError) as error:
            logger.warning("A message to %s was lost: %r", name, error)

    def _living_home(self) -> asyncio.AbstractEventLoop | None:
        if self._home is None or self._home.is_closed() or self._home_pid != os.getpid():
            return None
        return self._home

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        if self._living_home() is None:
            self._unsettle()
            await self.flush()
            self._home, self._home_pid = loop, os.getpid()
        if self._server is None and self._home is loop and loop.time() - self._tried_at > LISTEN_RETRY_SECONDS:
            self._tried_at = loop.time()
            await self._listen()

    async def _listen(self) -> None:
        try:
            self._listener = Listener(await asyncio.to_thread(socket_path, self._folder))
        except BlockingIOError:
            logger.error("Another web process uses %s; live pictures of the queue reach only that one.", self._folder)
            return
        except OSError as error:
            logger.error("Live pictures cannot arrive from the queue: %s", error)
            return
        self._server = await asyncio.start_unix_server(self._serve, sock=self._listener.socket)

    def _unsettle(self) -> None:
        for task in self._senders:
            if not task.get_loop().is_closed():
                task.cancel()
        self._senders.clear()
        if self._server is not None and self._home is not None and not self._home.is_closed():
            self._server.close()
        if self._listener is not None:
            self._listener.close()
        self._server = self._listener = self._home = None
        self._tried_at = float("-inf")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._senders.add(task)
            task.add_done_callback(self._senders.discard)
        try:
            if _is_ours(writer):
                await self._read_messages(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except WireError as error:
            logger.warning("A sender was cut off: %s", error)
        except asyncio.CancelledError:
            logger.debug("The layer closes")
        finally:
            writer.close()

    async def _read_messages(self, reader: asyncio.StreamReader) -> None:
        while True:
            head, blobs = lengths(await reader.readexactly(PREFIX.size))
            await self._deliver_quietly(*decode(await reader.readexactly(head), await reader.readexactly(blobs)))


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    connection: socket.socket | None = writer.get_extra_info("socket")
    # A transport's socket is a thin wrapper; the option is asked of the same descriptor.
    uid = None
    if connection is not None:
        with socket.socket(fileno=os.dup(connection.fileno())) as real:
            uid = peer_uid(real)
    if uid is None or uid in {os.getuid(), 0}:
        return True
    logger.warning("User %s may not send", uid)
    return False
