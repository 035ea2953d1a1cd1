"""Claiming by compare-and-swap, and the places in the queue that people are told."""

import uuid
from typing import Any

import pytest

from accounts.models import User
from generation import payloads, scheduler
from generation.models import Checkpoint, Device, GenerationRequest, Project, Turn
from generation.queue_state import Queue
from generation.services.devices import device_ensure, device_pause, device_resume
from generation.services.requests import request_cancel
from tests.generation.queue import lease, make_checkpoint, submit


@pytest.fixture
def device(db: None) -> Device:
    """The one of this machine."""
    return device_ensure()


@pytest.fixture
def theirs(charlie: User) -> Project:
    """Charlie's own."""
    return Project.objects.create(owner=charlie, name="Personal", kind=Project.Kind.PERSONAL)


def test_a_claim_leases_and_counts_the_attempt(alice: User, project: Project, device: Device) -> None:
    asked = submit(alice, project, make_checkpoint())
    claimed = scheduler.claim_next(device, [])
    assert claimed is not None
    assert (claimed.pk, claimed.state, claimed.attempt, claimed.device) == (asked.pk, "loading", 1, device)
    assert claimed.lease_token and claimed.lease_until and claimed.started_at
    assert claimed.version == asked.version + 1
    assert scheduler.claim_next(device, []) is None


def test_two_workers_never_claim_the_same(
    alice: User, project: Project, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_checkpoint()
    first, second = submit(alice, project, checkpoint), submit(alice, project, checkpoint)
    look = scheduler.queue_read

    def somebody_is_faster() -> Queue:
        seen = look()
        if GenerationRequest.objects.get(pk=first.pk).state == "queued":
            lease(first)
        return seen

    monkeypatch.setattr(scheduler, "queue_read", somebody_is_faster)
    claimed = scheduler.claim_next(device, [])
    assert claimed is not None
    assert claimed.pk == second.pk


def test_a_paused_device_claims_nothing(alice: User, olga: User, project: Project, device: Device) -> None:
    submit(alice, project, make_checkpoint())
    device_pause(device=device, user=olga)
    assert scheduler.claim_next(device, []) is None
    device_resume(device=device, user=olga)
    assert scheduler.claim_next(device, []) is not None


def test_who_cannot_be_served_is_skipped(
    alice: User, charlie: User, project: Project, theirs: Project, device: Device
) -> None:
    tiny, off = make_checkpoint(), make_checkpoint("off")
    submit(charlie, theirs, tiny)
    submit(alice, project, off)
    fine = submit(alice, project, tiny)
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    Checkpoint.objects.filter(pk=off.pk).update(enabled=False)
    claimed = scheduler.claim_next(device, [])
    assert claimed is not None
    assert claimed.pk == fine.pk


def test_the_warm_one_overtakes_until_the_bound(
    alice: User, charlie: User, project: Project, theirs: Project, device: Device, settings: Any
) -> None:
    cold, warm = make_checkpoint("cold", size_bytes=10**10), make_checkpoint("warm")
    first = submit(alice, project, cold)
    for _ in range(3):
        submit(charlie, theirs, warm)
    claimed = scheduler.claim_next(device, ["warm"])
    assert claimed is not None
    assert claimed.checkpoint == warm
    settings.LONGEST_SWAP_WAIT = 0
    claimed = scheduler.claim_next(device, ["warm"])
    assert claimed is not None
    assert claimed.pk == first.pk


def test_a_claim_asks_the_database_as_often_however_many_wait(
    alice: User, project: Project, device: Device, django_assert_num_queries: Any
) -> None:
    tiny = make_checkpoint()
    submit(alice, project, tiny)
    row = GenerationRequest.objects.get()
    assert scheduler.claim_next(device, []), "the first one makes the row of her turn"
    for many in (10, 300):
        copies = [GenerationRequest(**{**fields_of(row), "id": uuid.uuid4()}) for _ in range(many)]
        GenerationRequest.objects.bulk_create(copies)
        with django_assert_num_queries(9):
            assert scheduler.claim_next(device, []) is not None


def fields_of(row: GenerationRequest) -> dict[str, Any]:
    """To make another like it."""
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_turns_outlive_the_process(
    alice: User, charlie: User, project: Project, theirs: Project, device: Device
) -> None:
    tiny = make_checkpoint()
    for _ in range(3):
        submit(alice, project, tiny)
    assert scheduler.claim_next(device, ["tiny"])
    scheduler._drawn.clear(), scheduler._passed.clear()
    submit(charlie, theirs, tiny)
    claimed = scheduler.claim_next(device, ["tiny"])
    assert claimed is not None
    assert claimed.owner == charlie
    assert {turn.owner.name: turn.account for turn in Turn.objects.all()} == {"Alice": 10, "Charlie": 10}


def test_the_level_never_falls_when_another_device_was_quicker(
    alice: User, project: Project, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, make_checkpoint())
    look = scheduler.queue_read

    def somebody_is_faster() -> Queue:
        seen = look()
        Turn.objects.create(owner=alice, account=510, level=500)
        return seen

    monkeypatch.setattr(scheduler, "queue_read", somebody_is_faster)
    assert scheduler.claim_next(device, []) is not None
    turn = Turn.objects.get()
    assert (turn.account, turn.level) == (520.5, 500), "ten of drawing and half of loading"


def test_people_are_told_their_places(
    alice: User, charlie: User, project: Project, theirs: Project, device: Device
) -> None:
    tiny = make_checkpoint()
    mine = [submit(alice, project, tiny) for _ in range(3)]
    his = submit(charlie, theirs, tiny)
    assert payloads.positions(alice) == {mine[0].pk: 1, mine[1].pk: 3, mine[2].pk: 4}
    assert payloads.positions(charlie) == {his.pk: 2}
    request_cancel(request=mine[0])
    assert [payload.get("position") for payload in payloads.open_requests(alice, payloads.waits_of(alice))] == [1, 3]


def test_the_list_of_open_requests_costs_the_same_however_long_it_is(
    alice: User, project: Project, django_assert_num_queries: object
) -> None:
    tiny = make_checkpoint()
    submit(alice, project, tiny)
    for _ in range(2):
        with django_assert_num_queries(8):  # type: ignore[operator]
            payloads.open_requests(alice, payloads.waits_of(alice))
        for _ in range(5):
            submit(alice, project, tiny)


def test_a_payload_says_what_the_page_needs(alice: User, project: Project) -> None:
    request = submit(alice, project, make_checkpoint(), count=2)
    payload = payloads.request_payload(request)
    assert (payload["state"], payload["count"], payload["position"], payload["checkpoint"]) == ("queued", 2, 1, "Tiny")
    assert "images" not in payload
    assert "error" not in payload
    GenerationRequest.objects.update(state="failed", error_code="x", error_message="It broke.", error_hint="Again.")
    request.refresh_from_db()
    assert payloads.request_payload(request)["error"] == {"code": "x", "message": "It broke.", "hint": "Again."}
