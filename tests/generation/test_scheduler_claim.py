"""Claiming by compare-and-swap, and the places in the queue that people are told."""

import pytest

from accounts.models import User
from generation import payloads, scheduler
from generation.models import Checkpoint, Device, GenerationRequest, Project
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
    look = scheduler.waiting_line

    def somebody_is_faster() -> scheduler.Line:
        seen = look()
        if GenerationRequest.objects.get(pk=first.pk).state == "queued":
            lease(first)
        return seen

    monkeypatch.setattr(scheduler, "waiting_line", somebody_is_faster)
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
    alice: User, charlie: User, project: Project, theirs: Project, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold, warm = make_checkpoint("cold"), make_checkpoint("warm")
    first = submit(alice, project, cold)
    for _ in range(3):
        submit(charlie, theirs, warm)
    claimed = scheduler.claim_next(device, ["warm"])
    assert claimed is not None
    assert claimed.checkpoint == warm
    monkeypatch.setattr(scheduler, "PATIENCE", scheduler.PATIENCE * 0)
    claimed = scheduler.claim_next(device, ["warm"])
    assert claimed is not None
    assert claimed.pk == first.pk


def test_people_are_told_their_places(
    alice: User, charlie: User, project: Project, theirs: Project, device: Device
) -> None:
    tiny = make_checkpoint()
    mine = [submit(alice, project, tiny) for _ in range(3)]
    his = submit(charlie, theirs, tiny)
    assert payloads.positions(alice) == {mine[0].pk: 1, mine[1].pk: 3, mine[2].pk: 4}
    assert payloads.positions(charlie) == {his.pk: 2}
    request_cancel(request=mine[0])
    assert [payload.get("position") for payload in payloads.open_requests(alice)] == [1, 3]


def test_the_list_of_open_requests_costs_the_same_however_long_it_is(
    alice: User, project: Project, django_assert_num_queries: object
) -> None:
    tiny = make_checkpoint()
    submit(alice, project, tiny)
    for _ in range(2):
        with django_assert_num_queries(4):  # type: ignore[operator]
            payloads.open_requests(alice)
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
