"""Pages that only want to hear of ends: what ended is told to its owner, once missed also later, and no frame ever."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.models import User
from core.push import close_sockets
from generation import payloads
from generation.engines.fragments import Kind
from generation.events import Frame, publish_frame
from generation.inbound import parse_news
from generation.models import GenerationRequest, Project
from generation.services.requests import request_cancel
from generation.services.transitions import request_complete, request_fail
from tests.generation.queue import lease, make_checkpoint, submit
from tests.generation.sockets import Page, cookie_of

pytestmark = pytest.mark.django_db(transaction=True)


async def listen(user: User, since: object = 0) -> tuple[Page, dict[str, Any]]:
    """A page that hears of ends, and what it hears first."""
    page = Page(await sync_to_async(cookie_of)(user), address=f"/ws/studio/?news={since}")
    assert await page.open()
    return page, await page.hear_text("snapshot")


def finish(user: User, project: Project, *, state: str = "completed") -> GenerationRequest:
    """A request of this person that ends so."""
    request = submit(user, project, make_checkpoint(f"c{GenerationRequest.objects.count()}"))
    if state == "canceled":
        return request_cancel(request=request)
    lease(request, state="saving")
    if state == "completed":
        request_complete(request=request, pictures=[], figures={})
    else:
        request_fail(request=request, code="x", message="It was black.")
    return request


@pytest.mark.parametrize(
    ("query", "since"), [(b"", None), (b"x=1", None), (b"news", 0), (b"news=17", 17), (b"news=-1", 0), (b"news=x", 0)]
)
def test_an_address_says_what_a_page_wants(query: bytes, since: int | None) -> None:
    assert parse_news(query) == since


async def test_ends_are_told_to_their_owner_and_nothing_else(alice: User, charlie: User, project: Project) -> None:
    frame = Frame(Kind.FRAGMENT, uuid.uuid4(), 1, 0, 0, 0, 0, 64, 8, 64, 64, 1, 8, b"webp")
    page, first = await listen(alice)
    strange, _ = await listen(charlie)
    assert (first["requests"], first["news"]) == ([], [])
    await sync_to_async(publish_frame)(alice.pk, frame)
    await sync_to_async(finish)(alice, project, state="canceled")
    done = await sync_to_async(finish)(alice, project)
    heard = await page.hear()
    assert isinstance(heard, dict)
    assert (heard["type"], heard["request"]["id"]) == ("request.completed", str(done.pk))
    assert heard["at"] > first["at"]
    failed = await sync_to_async(finish)(alice, project, state="failed")
    assert (await page.hear_text("request.state"))["request"]["id"] == str(failed.pk)
    await page.say(type="snapshot")
    assert (await page.hear_text("error"))["message"] == "This page only hears of ends."
    for one in (page, strange):
        await one.say(type="ping")
        assert await one.hear() == {"type": "pong"}
    await sync_to_async(close_sockets)(alice.pk, "Logged out.")
    assert await page.hear_close() == 4401
    await strange.leave()


async def test_what_was_missed_is_told_later(alice: User, bob: User, project: Project) -> None:
    before = payloads.milliseconds(timezone.now()) - 1
    done = await sync_to_async(finish)(alice, project)
    old = await sync_to_async(finish)(alice, project)
    ages_ago = timezone.now() - timedelta(hours=3)
    await GenerationRequest.objects.filter(pk=old.pk).aupdate(finished_at=ages_ago)
    for since, told in ((before, [str(done.pk)]), (1, [str(done.pk)]), (0, []), (10**14 - 1, [])):
        page, first = await listen(alice, since)
        assert [request["id"] for request in first["news"]] == told, since
        await page.leave()
    page, first = await listen(bob, before)
    assert first["news"] == []
    await page.leave()
