"""Waiting times that people are told: from this installation's own times, kept as promises, and looked back upon."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generation import payloads
from generation.models import Checkpoint, Device, GenerationRequest, Pace, Project
from generation.scheduler import claim_next
from generation.services import announcements
from generation.services.devices import (
    device_drain,
    device_ensure,
    device_is_first,
    device_pause,
    device_resume,
)
from generation.services.forecast import pace_learn
from generation.services.requests import requests_refuse
from generation.waits import FEWEST, STRETCH, promises_held, stretch, told, waits_read
from tests.generation.queue import make_checkpoint, submit


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "5 s"), (12, "15 s"), (55, "55 s"), (56, "1 min"), (61, "2 min"), (3599, "1 h"), (3660, "1 h 10 min")],
)
def test_times_are_rounded_up_as_people_say_them(seconds: float, words: str) -> None:
    assert told(seconds) == words


def learnt(alice: User, project: Project, *, drawn: float, loaded: float = 0) -> Device:
    """A device that drew a few with the checkpoint `tiny` and has it loaded, unless loading takes something."""
    tiny, device = make_checkpoint(), device_ensure()
    request = submit(alice, project, tiny)
    request.device = device
    for _ in range(20):
        pace_learn(request=request, drawn=drawn, loaded=loaded)
    GenerationRequest.objects.all().delete()
    device.heartbeat_at = timezone.now()
    device.resident = [] if loaded else [{"name": "tiny", "bytes": 1}]
    device.save()
    return device


def test_a_wait_is_what_is_before_it_and_itself(alice: User, project: Project) -> None:
    learnt(alice, project, drawn=10)
    tiny = Pace.objects.get().checkpoint
    first, second = submit(alice, project, tiny), submit(alice, project, tiny, count=2)
    waits = waits_read()
    assert [waits[one.pk].place for one in (first, second)] == [1, 2]
    assert [round(waits[one.pk].p50) for one in (first, second)] == [12, 32]
    assert all(wait.p90 > wait.p50 and not wait.loads for wait in waits.values())
    assert waits[first.pk].words == "done in about 15 s, at most 15 s"


def test_loading_is_told_apart(alice: User, project: Project) -> None:
    learnt(alice, project, drawn=10, loaded=40)
    first = submit(alice, project, Pace.objects.get().checkpoint)
    wait = waits_read()[first.pk]
    assert (round(wait.p50), wait.loads) == (52, 40)
    assert wait.words.endswith(", 40 s of it for loading")
    payload = payloads.request_payload(first)
    assert (payload["position"], payload["wait"]) == (1, wait.words)


def test_it_is_estimated_anew_as_the_queue_moves(alice: User, project: Project) -> None:
    learnt(alice, project, drawn=30)
    tiny = Pace.objects.get().checkpoint
    first, second = submit(alice, project, tiny), submit(alice, project, tiny)
    before = waits_read()[second.pk]
    GenerationRequest.objects.filter(pk=first.pk).update(state="canceled")
    after = waits_read()[second.pk]
    assert (before.place, after.place) == (2, 1)
    assert before.p50 - after.p50 == pytest.approx(30)


def test_what_was_told_first_is_kept(
    alice: User, project: Project, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]]
) -> None:
    learnt(alice, project, drawn=10)
    with django_capture_on_commit_callbacks(execute=True):
        first = submit(alice, project, Pace.objects.get().checkpoint)
    first.refresh_from_db()
    assert first.promised_p50_at is not None and first.promised_p90_at is not None
    assert first.promised_p50_at - first.created_at == timedelta(seconds=12)
    assert first.promised_p90_at > first.promised_p50_at


def test_what_is_claimed_at_once_has_a_promise_too(
    alice: User, project: Project, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]]
) -> None:
    device = learnt(alice, project, drawn=10, loaded=40)
    with django_capture_on_commit_callbacks(execute=True):
        first = submit(alice, project, Pace.objects.get().checkpoint)
        assert claim_next(device, []) == first
    first.refresh_from_db()
    assert first.promised_p50_at is not None
    assert first.promised_p50_at - first.created_at == timedelta(seconds=52)


def test_a_drawing_is_foretold_by_the_device_that_will_serve_it(alice: User, project: Project) -> None:
    learnt(alice, project, drawn=10)
    pace = Pace.objects.get()
    quick = [[*shape, 1.0] for *shape, _ in pace.draws]
    Pace.objects.create(checkpoint=pace.checkpoint, device=Device.objects.create(name="quick"), draws=quick * 3)
    first = submit(alice, project, pace.checkpoint)
    assert round(waits_read()[first.pk].p50) == 12


def past(alice: User, project: Project, took: list[float]) -> None:
    """Requests that were told 10 seconds, at most 20, and took so long."""
    tiny = Checkpoint.objects.first() or make_checkpoint()
    asked = timezone.now() - timedelta(hours=1)
    for seconds in took:
        row = submit(alice, project, tiny)
        GenerationRequest.objects.filter(pk=row.pk).update(
            state="completed",
            created_at=asked,
            promised_p50_at=asked + timedelta(seconds=10),
            promised_p90_at=asked + timedelta(seconds=20),
            finished_at=asked + timedelta(seconds=seconds),
        )


def test_the_second_time_is_stretched_until_nine_of_ten_hold(alice: User, project: Project) -> None:
    past(alice, project, [8.0] * (FEWEST - 1))
    assert stretch() == STRETCH[0], "too few to tell"
    GenerationRequest.objects.all().delete()
    past(alice, project, [10.0] * 16 + [30.0] * 4)
    assert stretch() == 3
    assert promises_held() == (16, 20)


def test_operators_see_what_held(alice: User, olga: User, project: Project, login: object) -> None:
    past(alice, project, [8.0, 25.0, 19.0])
    page = login(olga).get(reverse("admin:generation_generationrequest_changelist"))  # type: ignore[operator]
    assert "2 of the newest 3 requests were done within the time they were told." in page.content.decode()


def test_places_of_a_long_queue_are_told_less_often(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(alice, project, make_checkpoint())
    told: list[object] = []
    monkeypatch.setattr(announcements.events, "publish_text", lambda owner, event: told.append(event["type"]))
    monkeypatch.setattr(announcements, "_next_places", 0.0)
    monkeypatch.setattr(announcements, "QUICK_SECONDS", 1e9)
    announcements._publish_places(), announcements._publish_places()
    assert told == ["queue.position"] * 2
    monkeypatch.setattr(announcements, "QUICK_SECONDS", -1.0)
    monkeypatch.setattr(announcements, "SPARING", 1e9)
    announcements._publish_places(), announcements._publish_places()
    assert told == ["queue.position"] * 3


def test_places_are_told_again_when_anything_that_decides_them_changes(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(announcements.events, "publish_text", lambda owner, event: told.append(event["waits"]))
    monkeypatch.setattr(announcements, "_next_places", 0.0)
    monkeypatch.setattr(announcements, "QUICK_SECONDS", 1e9)  # however slow this machine is
    device, tiny = learnt(alice, project, drawn=10), Checkpoint.objects.get()

    def is_told_once() -> bool:
        before = len(told)
        announcements.places_follow(), announcements.places_follow()
        return len(told) == before + 1

    submit(alice, project, tiny)
    assert is_told_once()
    first = submit(alice, project, tiny)
    assert is_told_once(), "somebody came, in any process"
    Device.objects.update(heartbeat_at=timezone.now() - timedelta(hours=2))
    assert is_told_once(), "the device died"
    Device.objects.update(heartbeat_at=timezone.now())
    assert is_told_once()
    monkeypatch.setattr(announcements, "_next_places", float("inf"))
    GenerationRequest.objects.filter(pk=first.pk).update(promoted_at=timezone.now())
    announcements._publish_places()
    monkeypatch.setattr(announcements, "_next_places", 0.0)
    assert is_told_once(), "it was put off, not dropped"
    assert device_is_first(device=device)


def test_what_operators_do_to_a_device_is_told_to_those_who_wait(
    alice: User, olga: User, project: Project, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    told: list[str] = []
    device, waits = learnt(alice, project, drawn=10), submit(alice, project, Checkpoint.objects.get())
    monkeypatch.setattr(announcements, "_next_places", 0.0)
    monkeypatch.setattr(announcements, "QUICK_SECONDS", 1e9)  # however slow this machine is
    monkeypatch.setattr(
        announcements.events, "publish_text", lambda owner, event: told.append(event["waits"][str(waits.pk)])
    )
    for change in (device_pause, device_resume, device_drain):
        change(device=device, user=olga)
    assert [words.startswith("done in") for words in told] == [False, True, False]


def test_who_waits_behind_what_is_refused_reads_it(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    told: list[int] = []
    other = make_checkpoint("other")
    submit(alice, project, other)
    waits = submit(alice, project, make_checkpoint())
    Checkpoint.objects.filter(pk=other.pk).update(enabled=False)
    monkeypatch.setattr(announcements, "_next_places", 0.0)
    monkeypatch.setattr(announcements, "QUICK_SECONDS", 1e9)  # however slow this machine is
    monkeypatch.setattr(
        announcements.events,
        "publish_text",
        lambda owner, event: told.append(event.get("positions", {}).get(str(waits.pk))),
    )
    assert requests_refuse() == 1
    assert told[-1] == 1
