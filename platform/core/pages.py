"""Makes pages beside the loop that sends fragments: each in one thread from its first middleware to its last.

Django's own handler goes back and forth between the loop and a thread of each request, once for every piece that is
sync or async, and makes as many pages at once as are asked for. All of them share one interpreter with the loop, so
fragments wait for pages, and nobody's page comes sooner. Here a page is one trip to a thread of a pool, and few are
made at once; the others wait their turn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponseBase
from django.middleware.security import SecurityMiddleware

# Who makes a page may wait for a database or a store that hangs. Then the next one goes beside it after so long.
PATIENCE_SECONDS = 1.0
THREADS = 64

Chain = Callable[[HttpRequest], HttpResponseBase]


class PageHandler(ASGIHandler):
    """As Django's, for sync views below sync middleware; what answers without them (static files) stays async."""

    def load_middleware(self, is_async: bool = True) -> None:
        """All of it sync that can be."""
        self._pool = ThreadPoolExecutor(THREADS, "page")
        self._gate = Gate(settings.PAGES_AT_ONCE, PATIENCE_SECONDS)
        super().load_middleware(is_async=False)

    def adapt_method_mode(
        self, is_async: bool, method: Any, method_is_async: bool | None = None, debug: bool = False, name: Any = None
    ) -> Any:
        """Where async middleware meets the sync chain, the thread begins. The top is async already."""
        known = iscoroutinefunction(method) if method_is_async is None else method_is_async
        return self._aside(method) if is_async and not known else method

    def _aside(self, chain: Chain) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
        step = sync_to_async(partial(_with_connections, chain), thread_sensitive=False, executor=self._pool)

        async def page(request: HttpRequest) -> HttpResponseBase:
            async with self._gate.place():
                return await step(request)

        return markcoroutinefunction(page)


class Gate:
    """So many at once. Who waited for `patience` seconds while nobody came out goes in beside them."""

    def __init__(self, places: int, patience: float) -> None:
        self._free = asyncio.Semaphore(places)
        self._patience = patience

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Held for one page."""
        try:
            await asyncio.wait_for(self._free.acquire(), self._patience)
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._free.release()


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
