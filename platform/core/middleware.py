"""Gives every answer an id by which a person can name it, and the admin its own content security policy."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

GetResponse = Callable[[HttpRequest], HttpResponse] | Callable[[HttpRequest], Awaitable[HttpResponse]]
ADMIN_POLICY = {"script-src": [SELF, UNSAFE_INLINE, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}


def _after(get_response: GetResponse, change: Callable[[HttpRequest, HttpResponse], None]) -> Callable[..., Any]:
    """A middleware, sync or async as its neighbour, that changes each answer."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponse:
            response = await cast(Awaitable[HttpResponse], get_response(request))
            change(request, response)
            return response

        return cast(Callable[..., Any], markcoroutinefunction(asynchronous))

    def synchronous(request: HttpRequest) -> HttpResponse:
        response = cast(HttpResponse, get_response(request))
        change(request, response)
        return response

    return synchronous


@sync_and_async_middleware
def request_id(get_response: GetResponse) -> Callable[..., Any]:
    """Adds the X-Request-Id header to every answer."""

    def change(request: HttpRequest, response: HttpResponse) -> None:
        response.headers["X-Request-Id"] = uuid.uuid4().hex

    return _after(get_response, change)


@sync_and_async_middleware
def admin_policy(get_response: GetResponse) -> Callable[..., Any]:
    """The admin theme evaluates expressions in attributes (Alpine) and styles inline; our own pages never do."""

    def change(request: HttpRequest, response: HttpResponse) -> None:
        if request.path.startswith("/admin/"):
            response._csp_replace = ADMIN_POLICY  # type: ignore[attr-defined]

    return _after(get_response, change)
