"""Gives every HTTP request an id that answers and log lines carry."""

import uuid
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def request_id(get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> Callable[..., object]:
    """Adds the X-Request-Id header to every answer."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponse:
            response = await get_response(request)  # type: ignore[misc]
            response.headers["X-Request-Id"] = uuid.uuid4().hex
            return response

        return markcoroutinefunction(asynchronous)

    def synchronous(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["X-Request-Id"] = uuid.uuid4().hex  # type: ignore[union-attr]
        return response  # type: ignore[return-value]

    return synchronous
