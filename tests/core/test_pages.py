"""Pages are made in few threads at once, and one that hangs keeps nobody out for long."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from core.pages import Gate, PageHandler

urlpatterns: list[Any] = []


def handler500(request: HttpRequest) -> HttpResponse:
    """The portal's own has links to its pages."""
    return HttpResponse("broken", status=500)


class Watched:
    """A page that counts how many of it are made at once, until it is let go."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.seen: list[str] = []
        self.threads: set[str] = set()
        self.go_on = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """A view."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.seen.append(str(request.method))
            self.threads.add(threading.current_thread().name)
        self.go_on.wait(20)
        with self._lock:
            self.now -= 1
        return HttpResponse("done")


async def get(
    handler: PageHandler, url: str, *, method: str = "GET", leaves: asyncio.Event | None = None
) -> dict[str, Any]:
    """The head and the body of the answer; nothing to who `leaves`."""
    scope = {
        "type": "http", "method": method, "path": url, "headers": [(b"host", b"localhost")], "query_string": b"",
        "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1), "http_version": "1.1",
    }  # fmt: skip
    asked, answered = asyncio.Event(), leaves or asyncio.Event()
    found: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        found.update({key: value for key, value in message.items() if key != "body"})
        found["body"] += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await handler(scope, receive, send)
    return found


@pytest.fixture
def watched() -> Watched:
    """Reached at /watched."""
    page = Watched()
    urlpatterns[:] = [path("watched", csrf_exempt(page))]
    return page


async def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


@override_settings(ROOT_URLCONF=__name__, PAGES_AT_ONCE=2)
async def test_so_many_pages_are_made_at_once_and_all_are_answered(watched: Watched) -> None:
    handler = PageHandler()
    asked = [asyncio.create_task(get(handler, "/watched")) for _ in range(6)]
    await until(lambda: watched.now == 2)
    await asyncio.sleep(0.1)
    assert watched.most == 2
    watched.go_on.set()
    answers = await asyncio.gather(*asked)
    assert [(one["status"], one["body"]) for one in answers] == [(200, b"done")] * 6
    assert watched.most == 2
    assert all(name.startswith("page") for name in watched.threads)
    assert dict(answers[0]["headers"])[b"X-Content-Type-Options"] == b"nosniff"
    assert b"X-Request-Id" in dict(answers[0]["headers"])


@override_settings(ROOT_URLCONF=__name__, PAGES_AT_ONCE=1)
async def test_when_all_that_are_made_hang_one_more_goes_in(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.pages.PATIENCE_SECONDS", 0.2)
    handler = PageHandler()
    asked = [asyncio.create_task(get(handler, "/watched")) for _ in range(3)]
    await until(lambda: watched.now == 3)
    watched.go_on.set()
    await asyncio.gather(*asked)
    # What hung left no place behind.
    watched.go_on.clear()
    monkeypatch.setattr(handler._gate, "_patience", 20.0)
    asked = [asyncio.create_task(get(handler, "/watched")) for _ in range(3)]
    await until(lambda: watched.now == 1)
    await asyncio.sleep(0.2)
    assert watched.now == 1
    watched.go_on.set()
    await asyncio.gather(*asked)


async def test_nobody_loses_patience_while_others_come_out() -> None:
    gate, most, inside = Gate(1, 0.3), 0, 0

    async def page() -> None:
        nonlocal most, inside
        await gate.enter()
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        inside -= 1
        gate.leave()

    await asyncio.gather(*[page() for _ in range(20)])  # the last one waits for a second
    assert (most, gate._inside) == (1, 0)


@override_settings(ROOT_URLCONF=__name__, PAGES_AT_ONCE=1)
async def test_who_leaves_frees_no_thread_and_what_was_sent_is_done(watched: Watched) -> None:
    handler = PageHandler()
    leaves = asyncio.Event()
    asked = [asyncio.create_task(get(handler, "/watched", leaves=leaves))]
    await until(lambda: watched.now == 1)
    asked += [asyncio.create_task(get(handler, "/watched", leaves=leaves)) for _ in range(3)]
    asked += [asyncio.create_task(get(handler, "/watched", method="POST", leaves=leaves))]
    await asyncio.sleep(0.05)
    leaves.set()
    assert await asyncio.gather(*asked) == [{"body": b""}] * 5
    await asyncio.sleep(0.1)
    assert watched.now == 1, "its thread goes on, and nobody goes in beside it"
    watched.go_on.set()
    await until(lambda: watched.seen == ["GET", "POST"])
    await until(lambda: handler._gate._inside == 0)


@override_settings(ROOT_URLCONF=__name__)
async def test_a_page_that_breaks_is_answered_and_holds_no_place(watched: Watched) -> None:
    def broken(request: HttpRequest) -> HttpResponse:
        raise RuntimeError("on purpose")

    urlpatterns[:] = [path("broken", broken), path("watched", watched)]
    with override_settings(PAGES_AT_ONCE=1):
        handler = PageHandler()
        for _ in range(3):
            assert (await get(handler, "/broken"))["status"] == 500
        watched.go_on.set()
        assert (await get(handler, "/watched"))["status"] == 200
