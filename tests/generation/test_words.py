"""An answer on its way to the page: to who asked and nobody else, and what was said so far to who comes late."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts.models import User
from generation import events
from generation.models import GenerationRequest, Project
from generation.services.transitions import request_words
from tests.generation.queue import make_checkpoint
from tests.generation.sockets import Page, cookie_of, enter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def running(alice: User, project: Project, stage: Path) -> GenerationRequest:
    """A description that is being given."""
    return GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=make_checkpoint(), prompt="what?", capability="describe",
        params={"width": 32, "height": 32}, state="running", lease_token=uuid.uuid4(), attempt=1, run=1,
    )  # fmt: skip


async def test_words_go_to_who_asked_and_late_comers_read_what_was_said(
    alice: User, charlie: User, running: GenerationRequest
) -> None:
    page, stranger = await enter(alice), await enter(charlie)
    words: Any = {"id": str(running.pk), "run": 1, "text": "a cat"}
    await sync_to_async(events.publish_text)(alice.pk, {"type": "request.words", "words": words})
    assert (await page.hear_text("request.words"))["words"] == words
    await stranger.say(type="ping")
    assert await stranger.hear() == {"type": "pong"}
    await stranger.say(type="resume", request=str(running.pk))
    assert await stranger.hear() == {"type": "error", "message": "No such request."}
    await sync_to_async(request_words)(request=running, answer="a cat on")
    await page.say(type="resume", request=str(running.pk))
    assert (await page.hear_text("request.state"))["request"]["answer"] == "a cat on"
    late = Page(await sync_to_async(cookie_of)(alice))
    assert await late.open()
    assert [request["answer"] for request in (await late.hear_text("snapshot"))["requests"]] == ["a cat on"]
    for opened in (page, stranger, late):
        await opened.leave()
