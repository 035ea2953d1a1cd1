"""Makes pages beside the loop that sends fragments: each in one thread from its first middleware to its last.

Django's own handler goes back and forth between the loop and a thread of each request, once for every piece that is
sync or async, and makes as many pages at once as are asked for. All of them share one interpreter with the loop, so
fragments wait for pages, and nobody's page comes sooner. Here a page is one trip to a thread of a pool, and few are
made at once; the others wait their turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase
from django.middleware.security import SecurityMiddleware

# Who makes a page may wait for a database or a store that hangs. If nobody came out for so long, one more goes in.
PATIENCE_SECONDS = 1.0
THREADS = 1000  # made when they are needed: some for each store that hangs
READING = frozenset({"GET", "HEAD"})

Chain = Callable[[HttpRequest], HttpResponseBase]


class PageHandler(ASGIHandler):
    """As Django's, for sync views below sync middleware; what answers without them (static files) stays async."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """With one thread for the beginnings and ends of all requests, in which Django does next to nothing."""
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is served here, not {scope['type']}.")
        async with ThreadSensitiveContext(executor=self._ends):
            await self.handle(scope, receive, send)

    def load_middleware(self, is_async: bool = True) -> None:
        """All of it sync that can be."""
        self._pool, self._ends = ThreadPoolExecutor(THREADS, "page"), ThreadPoolExecutor(1, "page-end")
        self._gate = Gate(settings.PAGES_AT_ONCE, PATIENCE_SECONDS)
        self._made: set[asyncio.Task[HttpResponseBase]] = set()
        super().load_middleware(is_async=False)

    def adapt_method_mode(
        self, is_async: bool, method: Any, method_is_async: bool | None = None, debug: bool = False, name: Any = None
    ) -> Any:
        """Where async middleware meets the sync chain, the thread begins. The top is async already."""
        known = iscoroutinefunction(method) if method_is_async is None else method_is_async
        return self._aside(method) if is_async and not known else method

    def _aside(self, chain: Chain) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
        step = sync_to_async(partial(_with_connections, chain), thread_sensitive=False, executor=self._pool)

        async def make(request: HttpRequest, has_place: bool) -> HttpResponseBase:
            if not has_place:
                await self._gate.enter()
            try:
                return await step(request)
            finally:
                self._gate.leave()

        async def page(request: HttpRequest) -> HttpResponseBase:
            # Who only reads and has left while waiting needs no page; what somebody sent is done all the same.
            if reads := request.method in READING:
                await self._gate.enter()
            # A thread cannot be called back: its place is free when it is done, whether anybody still waits or not.
            task = asyncio.create_task(make(request, reads))
            self._made.add(task)
            task.add_done_callback(self._made.discard)
            return await asyncio.shield(task)

        return markcoroutinefunction(page)


class Gate:
    """So many at once, in the order of their coming. When nobody came out for `patience` seconds, one more goes in.

    Such a place stays as long as others wait. Used by one event loop.
    """

    def __init__(self, places: int, patience: float) -> None:
        self._places, self._patience = places, patience
        self._inside, self._moved = 0, float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place; who is canceled has none."""
        if self._inside < self._places:
            self._inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        came = time.monotonic()
        try:
            while not turn.done():
                left = max(came, self._moved) + self._patience - time.monotonic()
                if left > 0:
                    await asyncio.wait([turn], timeout=left)
                else:
                    self._inside, self._moved = self._inside + 1, time.monotonic()
                    self._waiting.remove(turn)
                    return
        except asyncio.CancelledError:
            if turn.done():
                self.leave()
            else:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Let the next one in."""
        self._moved = time.monotonic()
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._inside -= 1


class Security(SecurityMiddleware):
    """Django's, without a trip to a thread for what waits for nothing."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """The same two steps."""
        response = self.process_request(request) or await self.get_response(request)  # type: ignore[misc]
        return self.process_response(request, response)


def _with_connections(chain: Chain, request: HttpRequest) -> HttpResponseBase:
    """The threads live on: what Django closes at either end of a request must be closed here."""
    close_old_connections()
    try:
        return chain(request)
    finally:
        close_old_connections()
