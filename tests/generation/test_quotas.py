"""Quotas: how much a person and a project may ask for, in words, and with two asking at once."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from accounts.models import Quota, User
from core.errors import TesseraError
from generation.models import Checkpoint, GenerationRequest, Membership, Project, ProjectQuota, UsageEntry
from generation.services.quotas import person_today
from generation.services.requests import request_cancel
from generation.services.transitions import request_complete
from tests.generation.cluster import database
from tests.generation.queue import lease, make_checkpoint, submit


@pytest.fixture
def tiny(db: None) -> Checkpoint:
    """Foretold to take 10 s a picture."""
    return make_checkpoint(seconds_per_picture=10.0)


def refused(user: User, project: Project, checkpoint: Checkpoint, **changes: Any) -> TesseraError:
    before = GenerationRequest.objects.count(), UsageEntry.objects.count()
    with pytest.raises(TesseraError) as caught:
        submit(user, project, checkpoint, **changes)
    assert (GenerationRequest.objects.count(), UsageEntry.objects.count()) == before
    return caught.value


def test_seconds_of_a_day_are_told_and_spent(alice: User, project: Project, tiny: Checkpoint, settings: Any) -> None:
    settings.SECONDS_A_DAY = 35
    first = submit(alice, project, tiny, count=2)
    error = refused(alice, project, tiny, count=2)
    assert (error.code, error.status) == ("quota_spent", 429)
    assert "takes" not in str(error)
    assert "20 s of the device, and 15 s of your 35 s for today are left. They renew at 00:00, in" in str(error)
    submit(alice, project, tiny)
    lease(first, state="saving")
    request_complete(request=first, pictures=[], figures={"device_seconds": 4.0})
    left = person_today(user=alice)
    assert left is not None
    assert (left.seconds, left.seconds_a_day) == (21.0, 35.0)
    submit(alice, project, tiny, count=2)


def test_what_is_given_back_can_be_spent_again(alice: User, project: Project, tiny: Checkpoint, settings: Any) -> None:
    settings.SECONDS_A_DAY = 10
    request_cancel(request=submit(alice, project, tiny))
    submit(alice, project, tiny)
    refused(alice, project, tiny)


def test_another_day_is_another_share(
    alice: User, project: Project, tiny: Checkpoint, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SECONDS_A_DAY, settings.TIME_ZONE = 10, "Asia/Tokyo"
    moment = datetime(2026, 3, 1, 14, 50, tzinfo=UTC)  # 23:50 there
    monkeypatch.setattr(timezone, "now", lambda: moment)
    with timezone.override("Asia/Tokyo"):
        submit(alice, project, tiny)
        assert "They renew at 00:00, in 10 min." in str(refused(alice, project, tiny))
        monkeypatch.setattr(timezone, "now", lambda: moment + timedelta(minutes=10))
        submit(alice, project, tiny)
        refused(alice, project, tiny)


def test_what_no_day_has_is_told_so(alice: User, project: Project, tiny: Checkpoint, settings: Any) -> None:
    settings.SECONDS_A_DAY = 39
    assert "more than a whole day" in str(refused(alice, project, tiny, count=4))


def test_overnight_is_a_lane_of_its_own(alice: User, project: Project, tiny: Checkpoint, settings: Any) -> None:
    settings.SECONDS_A_DAY, settings.MAX_QUEUED, settings.MAX_OVERNIGHT = 10, 1, 2
    submit(alice, project, tiny)
    for _ in range(2):
        submit(alice, project, tiny, lane="overnight", count=4)
    assert "2 requests overnight, and 2 is the most" in str(refused(alice, project, tiny, lane="overnight"))
    assert refused(alice, project, tiny).code == "queue_full"
    Quota.objects.filter(user=alice).update(overnight_seconds_a_day=85, most_overnight=0)
    error = refused(alice, project, tiny, lane="overnight")
    assert "5 s of your 85 s" in str(error)
    assert "choose the lane" not in str(error)
    assert refused(alice, project, tiny, lane="weekend").code == "lane_unknown"


def test_no_number_is_no_limit(alice: User, project: Project, tiny: Checkpoint, settings: Any) -> None:
    settings.MAX_QUEUED, settings.MAX_OVERNIGHT = 1, 1
    for lane in ("now", "overnight"):
        submit(alice, project, tiny, lane=lane)
        assert "You already wait for 1 request" in str(refused(alice, project, tiny, lane=lane))
        assert "requests" not in str(refused(alice, project, tiny, lane=lane))
    settings.MAX_QUEUED, settings.MAX_OVERNIGHT = 0, 0
    for lane in ("now", "overnight") * 3:
        submit(alice, project, tiny, lane=lane)


def test_a_row_of_ones_own_beats_the_settings(alice: User, bob: User, tiny: Checkpoint, settings: Any) -> None:
    settings.SECONDS_A_DAY = 10
    Quota.objects.create(user=alice, seconds_a_day=0)
    Quota.objects.create(user=bob, most_queued=1)
    mine, his = (Project.objects.create(name="p", owner=who) for who in (alice, bob))
    for _ in range(3):
        submit(alice, mine, tiny)
    submit(bob, his, tiny)
    assert "1 is the most" in str(refused(bob, his, tiny))


def test_a_project_has_limits_for_all_its_members(
    alice: User, bob: User, team: Project, project: Project, tiny: Checkpoint, settings: Any
) -> None:
    Membership.objects.update(role=Membership.Role.EDITOR)
    settings.PROJECT_SECONDS_A_DAY = 25
    submit(alice, team, tiny), submit(bob, team, tiny)
    assert "5 s of the project “Team”’s 25 s for today are left" in str(refused(bob, team, tiny))
    for _ in range(3):
        submit(alice, project, tiny)
    ProjectQuota.objects.filter(project=team).update(seconds_a_day=0, most_queued=3)
    submit(bob, team, tiny)
    assert "In the project “Team” 3 requests wait already, and 3 is the most" in str(refused(alice, team, tiny))


def test_checkpoints_may_be_kept_for_some(alice: User, project: Project, team: Project, tiny: Checkpoint) -> None:
    other = make_checkpoint("other")
    Quota.objects.create(user=alice, checkpoints=["tiny"])
    ProjectQuota.objects.create(project=team, checkpoints=["other"])
    submit(alice, project, tiny)
    error = refused(alice, project, other)
    assert (error.code, error.status) == ("checkpoint_not_allowed", 403)
    assert "You may not use the checkpoint “Other”" in str(error)
    assert "The project “Team” may not use the checkpoint “Tiny”" in str(refused(alice, team, tiny))


def test_who_asks_many_times_at_once_gets_no_more(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    accepted: list[GenerationRequest] = []
    refusals: list[str] = []
    with django_db_blocker.unblock(), database(tmp_path):
        call_command("migrate", verbosity=0)
        user = User.objects.create_user("many@example.org")
        project = Project.objects.create(name="p", owner=user)
        tiny = make_checkpoint(seconds_per_picture=10.0)
        Quota.objects.create(user=user, seconds_a_day=55)
        begin = threading.Barrier(12)

        def ask() -> None:
            with database(tmp_path):
                begin.wait()
                try:
                    accepted.append(submit(user, project, tiny))
                except TesseraError as error:
                    refusals.append(error.code)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert UsageEntry.objects.held_ms() == 50_000
    assert (len(accepted), refusals) == (5, ["quota_spent"] * 7)
