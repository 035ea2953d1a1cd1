"""Carries messages of this process to the web process, in a thread of its own.

`put` never blocks and never raises: what cannot be delivered soon is dropped, except that small messages (states) wait
for a web process that is being restarted. A dropped message is no loss of truth: the database and the live store have
it.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path

from core.unixsocket import socket_path

logger = logging.getLogger(__name__)

BACKLOG_BYTES = 8 * 1024 * 1024
BACKLOG_COUNT = 512
LARGE = 16 * 1024
SEND_SECONDS = 2.0
RETRY_SECONDS = 0.25
FAREWELL_SECONDS = 0.5


class Sender:
    """A bounded backlog and the thread that empties it into the socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dropped = 0
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._ready = threading.Condition()
        self._backlog: deque[bytes] = deque()
        self._size = 0
        self._busy = False
        self._closed = False
        self._socket: socket.socket | None = None
        self._retry_at = 0.0
        self._thread: threading.Thread | None = None

    def put(self, packed: bytes) -> None:
        """Send soon. Over the bounds the oldest goes, large ones (pictures) before small ones (states)."""
        if self._pid != os.getpid():
            # A fork has neither our thread nor the right to write into our socket.
            if self._socket is not None:
                self._socket.close()
            self._reset()
        with self._ready:
            if time.monotonic() < self._retry_at and len(packed) >= LARGE:
                self.dropped += 1
                return
            self._backlog.append(packed)
            self._size += len(packed)
            while self._size > BACKLOG_BYTES or len(self._backlog) > BACKLOG_COUNT:
                self._drop_one()
            self._ensure_thread()
            self._ready.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until everything was handed to the socket, at most `seconds`."""
        with self._ready:
            return self._ready.wait_for(lambda: not self._backlog and not self._busy, timeout=seconds)

    def close(self) -> None:
        """Hand over what is left, briefly, and end the thread."""
        if self._pid != os.getpid() or self._thread is None:
            return
        self.flush(FAREWELL_SECONDS)
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self._thread.join(FAREWELL_SECONDS)
        atexit.unregister(self.close)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            atexit.register(self.close)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="layer-sender", daemon=True)
            self._thread.start()

    def _drop_one(self) -> None:
        victim = next((at for at, packed in enumerate(self._backlog) if len(packed) >= LARGE), 0)
        # The newest stays: it is the one worth seeing.
        victim = victim if victim < len(self._backlog) - 1 else 0
        self._size -= len(self._backlog[victim])
        del self._backlog[victim]
        self.dropped += 1

    def _run(self) -> None:
        try:
            while (packed := self._take()) is not None:
                self._deliver(packed)
        finally:
            self._disconnect()

    def _take(self) -> bytes | None:
        with self._ready:
            self._busy = False
            self._ready.notify_all()
            while not self._closed and not (self._backlog and self._retry_in() <= 0):
                self._ready.wait(self._retry_in() if self._backlog else None)
            if not self._backlog or self._retry_in() > 0:
                return None
            packed = self._backlog.popleft()
            self._size -= len(packed)
            self._busy = True
            return packed

    def _retry_in(self) -> float:
        return self._retry_at - time.monotonic()

    def _deliver(self, packed: bytes) -> None:
        # Twice: the first failure may only mean that the web process was restarted since the last message.
        for _ in range(2):
            try:
                self._connected().sendall(packed)
                return
            except OSError as error:
                self._disconnect()
                reason = error
        logger.debug("The web process cannot be reached: %s", reason)
        with self._ready:
            # Nobody listens, so nobody watches: pictures that wait would be old news when somebody does.
            waiting = [packed, *self._backlog]
            self._backlog = deque(message for message in waiting if len(message) < LARGE)
            self._size = sum(map(len, self._backlog))
            self.dropped += len(waiting) - len(self._backlog)
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _connected(self) -> socket.socket:
        if self._socket is None:
            fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                fresh.settimeout(SEND_SECONDS)
                fresh.connect(str(socket_path(self._folder)))
            except OSError:
                fresh.close()
                raise
            self._socket = fresh
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
