"""Leases and fenced moves: whoever lost the lease changes nothing, and nothing is leased for ever."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from generation.models import Device, GenerationRequest, Image, Project
from generation.services import leases, transitions
from generation.services.images import Drawn
from generation.services.leases import leases_reap
from generation.services.requests import request_cancel
from generation.services.transitions import LeaseLostError
from generation.storage import StoredPicture
from tests.generation.queue import lease, make_checkpoint, submit

STORED = StoredPicture(uuid.UUID(int=1), "images/00/1/picture.png", "0", 3, 32, 32)
PICTURES = [Drawn(0, 7, STORED, {})]


@pytest.fixture
def leased(alice: User, project: Project) -> GenerationRequest:
    """Drawn right now, in its first attempt."""
    request = submit(alice, project, make_checkpoint())
    lease(request)
    return request


def expire(request: GenerationRequest) -> None:
    """Its lease ran out a second ago."""
    GenerationRequest.objects.filter(pk=request.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_fresh_lease_is_left_alone(leased: GenerationRequest) -> None:
    assert leases_reap() == 0


def test_an_expired_one_goes_back_to_the_queue(leased: GenerationRequest) -> None:
    expire(leased)
    assert leases_reap() == 1
    leased.refresh_from_db()
    assert (leased.state, leased.attempt, leased.lease_token, leased.started_at) == ("queued", 1, None, None)
    assert leases_reap() == 0


def test_one_that_is_renewed_in_the_last_moment_is_left_alone(
    leased: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renewed_first(**changes: Any) -> str:
        GenerationRequest.objects.update(lease_until=timezone.now() + timedelta(seconds=60))
        return transitions.request_end_lease(**changes)

    monkeypatch.setattr(leases, "request_end_lease", renewed_first)
    for attempt, canceled in ((1, None), (2, None), (1, timezone.now())):
        GenerationRequest.objects.update(attempt=attempt, cancel_requested_at=canceled)
        expire(leased)
        assert leases_reap() == 0
        leased.refresh_from_db()
        assert (leased.state, leased.attempt) == ("running", attempt)


def test_the_last_attempt_fails_with_a_reason(leased: GenerationRequest) -> None:
    lease(leased, attempt=2, seconds=-1)
    leases_reap()
    leased.refresh_from_db()
    assert (leased.state, leased.error_code) == ("failed", "worker_lost")
    assert leased.error_message and leased.error_hint and leased.finished_at


def test_one_that_was_canceled_is_not_drawn_again(leased: GenerationRequest) -> None:
    request_cancel(request=leased)
    expire(leased)
    leases_reap()
    leased.refresh_from_db()
    assert leased.state == "canceled"


def test_the_reason_of_a_cancel_stays_to_the_end(leased: GenerationRequest) -> None:
    request_cancel(request=leased, reason="You are no longer in the project.")
    leased.refresh_from_db()
    assert (leased.state, leased.error_message) == ("running", "You are no longer in the project.")
    transitions.request_stop(request=leased)
    leased.refresh_from_db()
    assert (leased.state, leased.error_message) == ("canceled", "You are no longer in the project.")


def test_one_of_a_deactivated_owner_is_not_drawn_again(leased: GenerationRequest) -> None:
    User.objects.update(is_active=False)
    expire(leased)
    leases_reap()
    leased.refresh_from_db()
    assert leased.state == "canceled"
    assert "deactivated" in leased.error_message


def test_every_lease_of_a_dead_device_is_reaped(leased: GenerationRequest) -> None:
    assert leases_reap(dead=Device.objects.create(name="other")) == 0
    assert leases_reap(dead=leased.device) == 1


def test_giving_back_does_not_count_the_attempt(leased: GenerationRequest) -> None:
    transitions.request_give_back(request=leased)
    leased.refresh_from_db()
    assert (leased.state, leased.attempt) == ("queued", 0)


def test_giving_back_what_was_canceled_cancels_it(leased: GenerationRequest) -> None:
    request_cancel(request=leased)
    transitions.request_requeue(request=leased)
    leased.refresh_from_db()
    assert leased.state == "canceled"


def test_a_lease_is_renewed_by_its_holder_only(leased: GenerationRequest) -> None:
    until = timezone.now() + timedelta(hours=1)
    assert leased.lease_token is not None
    assert not transitions.lease_renew(pk=leased.pk, token=uuid.uuid4(), until=until)
    assert transitions.lease_renew(pk=leased.pk, token=leased.lease_token, until=until)
    leased.refresh_from_db()
    assert leased.lease_until == until


def test_whoever_lost_the_lease_moves_nothing(leased: GenerationRequest) -> None:
    late = GenerationRequest.objects.get(pk=leased.pk)
    lease(leased, attempt=2)
    late.state = "running"
    for move in (
        lambda: transitions.request_save(request=late),
        lambda: transitions.request_complete(request=late, pictures=PICTURES, figures={}),
        lambda: transitions.request_fail(request=late, code="x", message="x"),
        lambda: transitions.request_stop(request=late),
        lambda: transitions.request_requeue(request=late),
        lambda: transitions.request_give_back(request=late),
    ):
        with pytest.raises(LeaseLostError):
            move()
    transitions.request_progress(request=late, step=3, steps=8)
    leased.refresh_from_db()
    assert (leased.state, leased.attempt, leased.step) == ("running", 2, 0)
    assert not Image.objects.exists()


def test_a_request_is_completed_once(leased: GenerationRequest) -> None:
    transitions.request_save(request=leased)
    assert transitions.request_complete(request=leased, pictures=PICTURES, figures={"total_seconds": 1})
    with pytest.raises(LeaseLostError):
        transitions.request_complete(request=leased, pictures=PICTURES, figures={})
    leased.refresh_from_db()
    assert (leased.state, leased.figures, leased.images.count()) == ("completed", {"total_seconds": 1}, 1)


def test_a_cancel_while_saving_wins(leased: GenerationRequest) -> None:
    transitions.request_save(request=leased)
    request_cancel(request=leased)
    assert not transitions.request_complete(request=leased, pictures=PICTURES, figures={})
    transitions.request_stop(request=leased)
    leased.refresh_from_db()
    assert (leased.state, leased.images.count()) == ("canceled", 0)


def test_every_move_makes_a_new_version(leased: GenerationRequest) -> None:
    before = leased.version
    transitions.request_save(request=leased)
    transitions.request_fail(request=leased, code="x", message="It broke.", hint="Try again.")
    leased.refresh_from_db()
    assert leased.version == before + 2
