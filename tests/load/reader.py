"""One open page: it reads and acknowledges, or it never reads at all."""

import asyncio
import json
import time
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from generation.events import Frame
from tests.crowd import SESSION
from tests.load.streams import MOMENT

STREAMED = 512  # pixels of the canvas by which the fragments of tests.load.streams are known


@dataclass
class Reader:
    """A socket of one person at a portal."""

    url: str
    session: str
    reads: bool = True
    late: list[float] = field(default_factory=list)  # seconds from made to received
    drawn: set[bytes] = field(default_factory=set)  # requests of which a real fragment came
    lost: int = 0  # times that it broke
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self) -> None:
        """Until canceled."""
        headers = {"Cookie": f"{SESSION}={self.session}"}
        address = self.url.replace("http://", "ws://") + "/ws/studio/"
        while True:
            try:
                async with connect(
                    address,
                    additional_headers=headers,
                    origin=self.url,  # type: ignore[arg-type]
                    proxy=None,
                    max_size=2**20,
                    max_queue=1 if not self.reads else 16,
                    open_timeout=60,
                    close_timeout=1,
                    ping_interval=None,
                    compression=None,
                ) as socket:
                    await (self._read(socket) if self.reads else _never_read(socket))
            except (OSError, ConnectionClosed, TimeoutError):
                self.lost += 1
                await asyncio.sleep(1)

    async def _read(self, socket: ClientConnection) -> None:
        taken = 0
        async for message in socket:
            self.open.set()  # the first is what is open: only then a page has all it shows
            if isinstance(message, bytes):
                now, frame, taken = time.time(), Frame.unpack(message), taken + 1
                if frame.canvas_width == STREAMED:
                    self.late.append(now - MOMENT.unpack_from(frame.data)[0])
                else:
                    self.drawn.add(frame.request.bytes)
                await socket.send(json.dumps({"type": "ack", "n": taken}))


async def _never_read(socket: ClientConnection) -> None:
    """Until it is canceled: what fills up is broken off then, because it would not hear a goodbye."""
    try:
        await asyncio.Event().wait()
    finally:
        socket.transport.abort()
