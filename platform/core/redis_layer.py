"""The layer of channels_redis for many machines, with one loop for all that a process sends outside of asyncio.

channels_redis keeps connections per event loop, and `async_to_sync` makes a loop for each call: a worker would connect
anew for every fragment. So senders without a loop of their own share a thread that has one.
"""

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from typing import Any

from channels_redis.core import RedisChannelLayer
from redis.exceptions import TimeoutError as RedisTimeoutError

SEND_SECONDS = 5.0
# After one that waited in vain: a Redis that swallows everything must not slow a drawing down again and again.
PAUSE_SECONDS = 20.0


class PatientRedisLayer(RedisChannelLayer):  # type: ignore[misc]
    """As channels_redis; `group_send_soon` is for threads without a loop."""

    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _pid = 0
    _silent_until = 0.0
    _lock = threading.Lock()

    def group_send_soon(self, group: str, message: dict[str, Any]) -> None:
        """Hand it over in the loop of this process. Raises what the layer raises, TimeoutError when it is stuck."""
        if time.monotonic() < self._silent_until:
            raise TimeoutError("Redis did not answer a moment ago.")
        try:
            self._in_loop(self.group_send(group, message))
        except (TimeoutError, RedisTimeoutError):
            self._silent_until = time.monotonic() + PAUSE_SECONDS
            raise

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._own_loop())
        try:
            future.result(SEND_SECONDS)
        except TimeoutError:
            future.cancel()
            raise

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # a fork has the loop but not its thread
                self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="redis-layer", daemon=True)
                self._thread.start()
            return self._loop
