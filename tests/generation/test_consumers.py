"""The studio's socket: who may open it, what it tells, credit, resume, and what closes it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts.models import User
from core import push
from generation import consumers, events, live, sessions
from generation.engines.fragments import Kind
from generation.events import Frame, TextEvent
from generation.inbound import BURST
from generation.models import Checkpoint, GenerationRequest, Project
from generation.outbox import CREDIT
from generation.sessions import SOCKETS_LIMIT
from tests.generation.sockets import Page, cookie_of, enter, until

pytestmark = pytest.mark.django_db(transaction=True)
Opener = Callable[[User], Any]


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "FIRST_CHECK_SECONDS", 0.5)
    monkeypatch.setattr(consumers, "TICK_SECONDS", 0.1)


@pytest.fixture
def request_of(project: Project) -> Callable[..., GenerationRequest]:
    """request_of(owner, state) makes a request row."""
    checkpoint = Checkpoint.objects.create(name="tiny", title="Tiny", family="diffusion", path="/nowhere")

    def make(owner: User, state: str = "running") -> GenerationRequest:
        token = uuid.uuid4() if state in GenerationRequest.LEASED else None
        params = {"width": 64, "height": 64, "count": 1}
        return GenerationRequest.objects.create(
            owner=owner, project=project, checkpoint=checkpoint, prompt="a cat", params=params, state=state,
            lease_token=token, attempt=1, run=1,
        )  # fmt: skip

    return make


@pytest.fixture
async def pages() -> AsyncIterator[Opener]:
    """pages(user) opens a page and closes it at the end."""
    opened: list[Page] = []

    async def open_page(user: User) -> Page:
        opened.append(await enter(user))
        return opened[-1]

    yield open_page
    for page in opened:
        await page.leave()
    await until(lambda: not sessions._open)


def fragment(request: GenerationRequest, sequence: int, *, kind: Kind = Kind.FRAGMENT, size: int = 100) -> Frame:
    return Frame(kind, request.pk, 1, 0, sequence, 0, 0, 64, 8, 64, 64, sequence, 8, bytes([sequence]) * size)


async def show(owner: User, frame: Frame) -> None:
    """As the runner does it."""

    def work() -> None:
        live.keep(frame.request, frame)
        events.publish_frame(owner.pk, frame)

    await sync_to_async(work)()


async def tell(user: User, event: TextEvent) -> None:
    await sync_to_async(events.publish_text)(user.pk, event)


def sequences(frames: list[bytes]) -> list[int]:
    return [Frame.unpack(frame).sequence for frame in frames]


async def test_nobody_is_closed_with_a_code_the_browser_can_read() -> None:
    page = Page(None)
    assert await page.open()
    assert await page.hear_close() == 4401
    await page.leave()


async def test_another_site_cannot_open_it(alice: User) -> None:
    page = Page(await sync_to_async(cookie_of)(alice), origin=(b"origin", b"http://evil.example"))
    assert not await page.open()
    await page.socket.wait()


async def test_the_snapshot_tells_open_requests_of_this_user_only(
    alice: User, bob: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    waiting, running = await sync_to_async(request_of)(alice, "queued"), await sync_to_async(request_of)(alice)
    await sync_to_async(request_of)(alice, "completed")
    await sync_to_async(request_of)(bob)
    page = Page(await sync_to_async(cookie_of)(alice))
    assert await page.open()
    snapshot = await page.hear_text("snapshot")
    assert {entry["id"] for entry in snapshot["requests"]} == {str(waiting.pk), str(running.pk)}
    assert snapshot["requests"][0]["id"] == str(running.pk), "what is being drawn comes first"
    assert set(snapshot["positions"]) == {str(waiting.pk)}
    await page.leave()


async def test_a_late_page_gets_what_has_been_drawn(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    for sequence in range(5):
        live.keep(running.pk, fragment(running, sequence))
    page = await pages(alice)
    assert sequences(await page.frames()) == [0, 1, 2, 3, 4]


async def test_events_and_frames_reach_their_owner_and_nobody_else(
    alice: User, bob: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    hers, his = await pages(alice), await pages(bob)
    await tell(alice, {"type": "request.note", "message": "Loading"})
    await show(alice, fragment(running, 0))
    assert await hers.hear() == {"type": "request.note", "message": "Loading"}
    assert await hers.hear() == fragment(running, 0).pack()
    assert await his.socket.receive_nothing(timeout=0.3)


async def test_credit_holds_frames_back_and_an_acknowledgement_brings_the_rest_in_order(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    for sequence in range(30):
        await show(alice, fragment(running, sequence))
    got = await page.frames()
    assert sequences(got) == list(range(CREDIT))
    while len(got) < 30:
        await page.say(type="ack", n=len(got))
        got += await page.frames(0.1)
    assert sequences(got) == list(range(30))


async def test_of_previews_without_credit_only_the_newest_is_sent(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    for sequence in range(30):
        await show(alice, fragment(running, sequence, kind=Kind.PREVIEW))
    seen = sequences(await page.frames())
    assert len(seen) == CREDIT and seen == sorted(set(seen))  # a slow start skips the first: the newest wins there too
    await page.say(type="ack", n=CREDIT)
    assert sequences(await page.frames()) == [29]


async def test_a_frame_that_the_layer_lost_comes_from_the_live_store(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    await show(alice, fragment(running, 0))
    live.keep(running.pk, fragment(running, 1))
    await show(alice, fragment(running, 2))
    assert sequences(await page.frames()) == [0, 1, 2]


async def test_resume_sends_what_the_client_lacks(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    for sequence in range(6):
        await show(alice, fragment(running, sequence))
    await show(alice, fragment(running, 3, kind=Kind.PREVIEW))
    await page.frames()
    await page.say(type="ack", n=7)
    await page.say(type="resume", request=str(running.pk), run=1, have={"0": 4})
    assert (await page.hear_text("request.state"))["request"]["id"] == str(running.pk)
    assert sequences(await page.frames()) == [4, 5, 3]
    await page.say(type="resume", request=str(running.pk), run=0)
    assert len(await page.frames()) == CREDIT - 3


async def test_resume_of_a_final_request_tells_its_end(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    done, failed = await sync_to_async(request_of)(alice, "completed"), await sync_to_async(request_of)(alice, "failed")
    page = await pages(alice)
    await page.say(type="resume", request=str(done.pk))
    assert (await page.hear_text("request.completed"))["request"]["state"] == "completed"
    await page.say(type="resume", request=str(failed.pk))
    assert (await page.hear_text("request.state"))["request"]["state"] == "failed"


async def test_resume_of_another_users_request_and_of_none_answer_alike(
    alice: User, bob: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    live.keep(running.pk, fragment(running, 0))
    page = await pages(bob)
    for strange in (str(running.pk), str(uuid.uuid4()), "no-uuid", None, 7, {"a": 1}):
        await page.say(type="resume", request=strange)
        assert await page.hear() == {"type": "error", "message": "No such request."}


async def test_nonsense_is_answered_and_never_a_crash(alice: User, pages: Opener) -> None:
    page = await pages(alice)
    nonsense = ["{", "[]", '"x"', "{}", '{"type": 5}', '{"type": "studio.close"}', "[" * 4000, "x" * 5000]
    nonsense += [json.dumps({"type": "ack", "n": n}) for n in ("many", -1, True, 10**4000)]
    for text in nonsense:
        await page.socket.send_to(text_data=text)
        assert (await page.hear())["type"] == "error"
    await page.socket.send_to(bytes_data=b"\x00")
    assert (await page.hear())["type"] == "error"
    for have in ([], {"0": -1}, {"a": 1}, {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1}, {"0": "1"}):
        await page.say(type="resume", request=str(uuid.uuid4()), have=have)
        assert (await page.hear())["type"] == "error"
    await page.say(type="ack", n=5)
    await page.say(type="ping")
    assert await page.hear() == {"type": "pong"}


async def test_too_many_messages_close(alice: User, pages: Opener) -> None:
    page = await pages(alice)
    for _ in range(int(BURST) + 20):
        await page.say(type="ping")
    assert await page.hear_close() == 4429


async def test_a_flood_of_snapshots_is_not_answered_one_by_one(alice: User, pages: Opener) -> None:
    page = await pages(alice)
    for _ in range(20):
        await page.say(type="snapshot")
    await page.say(type="ping")
    heard = []
    while not heard or heard[-1] != {"type": "pong"}:
        heard.append(await page.hear())
    assert len(heard) <= 2
    for _ in range(10):
        await page.say(type="snapshot")
    assert await page.hear_close() == 4429


async def test_a_snapshot_is_answered_again_a_moment_later(
    alice: User, pages: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "SNAPSHOT_SECONDS", 0.0)
    page = await pages(alice)
    await page.say(type="snapshot")
    assert (await page.hear_text("snapshot"))["requests"] == []


async def test_a_snapshot_stays_below_what_daphne_takes(
    alice: User, request_of: Callable[..., GenerationRequest]
) -> None:
    row = await sync_to_async(request_of)(alice, "queued")
    fields = {"owner": alice, "project_id": row.project_id, "checkpoint_id": row.checkpoint_id}
    for _ in range(25):
        await GenerationRequest.objects.acreate(**fields, prompt="\N{CAT FACE}" * 4000)
    page = Page(await sync_to_async(cookie_of)(alice))
    assert await page.open()
    message = await page.socket.receive_output(timeout=10)
    assert 300_000 < len(message["text"]) < 500_000
    await page.leave()


async def test_too_many_windows_are_refused_and_a_closed_one_makes_room(alice: User, pages: Opener) -> None:
    for _ in range(SOCKETS_LIMIT - 1):
        await pages(alice)
    last = await enter(alice)
    refused = Page(await sync_to_async(cookie_of)(alice))
    assert await refused.open()
    assert await refused.hear_close() == 4429
    await refused.leave()
    await last.leave()
    await pages(alice)


async def test_logout_closes_at_once(alice: User, pages: Opener, settings: Any) -> None:
    settings.SOCKET_CHECK_SECONDS = 3600
    client = Client()
    await sync_to_async(client.force_login)(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = Page(client.cookies[settings.SESSION_COOKIE_NAME].value)
    assert await page.open()
    await sync_to_async(client.logout)()
    assert await page.hear_close() == 4401
    await page.leave()


async def test_a_password_change_on_the_page_closes_at_once(alice: User, pages: Opener) -> None:
    page = await pages(alice)
    client = Client()
    await sync_to_async(client.force_login)(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    fresh = "another horse battery"
    form = {"oldpassword": "correct horse battery", "password1": fresh, "password2": fresh}
    answer = await sync_to_async(client.post)("/accounts/password/change/", form)
    assert answer.status_code == 302
    assert await page.hear_close() == 4401


async def test_the_hook_closes_every_socket_of_a_person_and_of_nobody_else(
    alice: User, bob: User, pages: Opener
) -> None:
    first, second, other = await pages(alice), await pages(alice), await pages(bob)
    await sync_to_async(push.close_sockets)(alice.pk, "Deactivated.")
    assert (await first.hear_text("close"))["message"] == "Deactivated."
    assert [await first.hear_close(), await second.hear_close()] == [4401, 4401]
    assert await other.socket.receive_nothing(timeout=0.3)


@pytest.mark.parametrize("deed", ["deactivate", "password", "session"])
async def test_a_silent_end_of_a_session_is_found_by_asking(
    alice: User, pages: Opener, settings: Any, deed: str
) -> None:
    from django.contrib.sessions.models import Session

    def work() -> None:
        if deed == "deactivate":
            User.objects.filter(pk=alice.pk).update(is_active=False)
        elif deed == "password":
            alice.set_password("changed behind the doors")
            alice.save()
        else:
            Session.objects.all().delete()

    settings.SOCKET_CHECK_SECONDS = 0
    page = await pages(alice)
    await sync_to_async(work)()
    assert await page.hear_close() == 4401


async def test_a_session_that_holds_keeps_its_socket(alice: User, pages: Opener, settings: Any) -> None:
    settings.SOCKET_CHECK_SECONDS = 0
    page = await pages(alice)
    await asyncio.sleep(1.2)
    await page.say(type="ping")
    assert await page.hear() == {"type": "pong"}


async def test_a_client_that_stops_acknowledging_is_closed(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener, settings: Any
) -> None:
    settings.SOCKET_STALL_SECONDS = 1
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    await asyncio.sleep(1.2)
    await show(alice, fragment(running, 0))
    assert await page.hear_close() == 4408


async def test_after_the_end_no_frame_of_a_request_is_left_waiting(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    for sequence in range(20):
        await show(alice, fragment(running, sequence))
    got = await page.frames()
    ended: Any = {"type": "request.state", "request": {"id": str(running.pk), "state": "canceled"}}
    await tell(alice, ended)
    assert (await page.hear_text("request.state"))["request"]["state"] == "canceled"
    await page.say(type="ack", n=len(got))
    assert await page.frames() == []


async def test_a_broken_frame_is_dropped(
    alice: User, request_of: Callable[..., GenerationRequest], pages: Opener
) -> None:
    running = await sync_to_async(request_of)(alice)
    page = await pages(alice)
    message = {"type": "studio.frame", "frame": b"rubbish"}
    from core.push import push

    await sync_to_async(push)(alice.pk, message)
    await show(alice, replace(fragment(running, 0), step=3))
    assert len(await page.frames()) == 1
