"""Lanes and order: one's own to the front, an operator's first, a device that is drained; services and pages."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, Quota, User
from core.errors import TesseraError
from generation.models import Checkpoint, Device, GenerationRequest, Project, ProjectQuota
from generation.scheduler import claim_next
from generation.services.devices import device_drain, device_ensure, device_pause, device_resume
from generation.services.order import request_promote, request_to_front
from generation.services.requests import request_cancel
from generation.software import key_mark, software_version
from generation.waits import waits_read
from tests.generation.queue import lease, make_checkpoint, submit

Login = Callable[[User], Client]
HTMX = {"hx-request": "true"}


@pytest.fixture
def tiny(db: None) -> Checkpoint:
    """A row."""
    return make_checkpoint(seconds_per_picture=2.0)


def own_order(user: User) -> list[GenerationRequest]:
    return list(GenerationRequest.objects.queued().filter(owner=user))


def test_ones_own_goes_to_the_front_of_its_lane(alice: User, bob: User, project: Project, tiny: Checkpoint) -> None:
    his = submit(bob, Project.objects.create(name="p", owner=bob), tiny)
    first, second, third = (submit(alice, project, tiny) for _ in range(3))
    night = submit(alice, project, tiny, lane="overnight")
    request_to_front(request=third)
    assert own_order(alice) == [third, first, second, night]
    request_to_front(request=third)
    request_to_front(request=second)
    request_to_front(request=night)
    assert own_order(alice) == [second, third, first, night], "nothing of its lane waits before it"
    his.refresh_from_db()
    assert his.sort_at < first.sort_at
    lease(first)
    with pytest.raises(TesseraError, match="not waiting any more"):
        request_to_front(request=first)


def test_an_operator_puts_one_first_and_the_owner_reads_it(
    alice: User, bob: User, olga: User, project: Project, tiny: Checkpoint
) -> None:
    submit(bob, Project.objects.create(name="p", owner=bob), tiny)
    submit(alice, project, tiny)
    last = submit(alice, project, tiny)
    request_promote(request=last, operator=olga)
    claimed = claim_next(device_ensure(), [])
    assert claimed is not None
    assert claimed.pk == last.pk
    line = AuditEvent.objects.get(verb="request.promote")
    assert (line.actor, line.owner, line.words) == (olga, alice, "Put a request before all others")
    with pytest.raises(TesseraError, match="not waiting any more"):
        request_promote(request=last, operator=olga)
    assert AuditEvent.objects.filter(verb="request.promote").count() == 1


def test_an_operator_lets_it_wait_its_turn_again(
    alice: User, olga: User, project: Project, tiny: Checkpoint, login: Login
) -> None:
    first, last = submit(alice, project, tiny), submit(alice, project, tiny)
    request_promote(request=last, operator=olga)
    browser = login(olga)
    change = {"action": "demote_selected", "_selected_action": [str(last.pk), str(first.pk)]}
    page = reverse("admin:generation_generationrequest_changelist")
    answer = browser.post(page, change, follow=True).content.decode()
    assert "1 put back" in answer
    assert "does not wait among those that were put first" in answer
    last.refresh_from_db()
    assert last.promoted_at is None
    assert AuditEvent.objects.filter(verb="request.demote", owner=alice).count() == 1
    assert [waits_read()[one.pk].place for one in (first, last)] == [1, 2]


def test_a_drained_device_finishes_and_takes_nothing_more(
    alice: User, olga: User, project: Project, tiny: Checkpoint, login: Login
) -> None:
    device = device_ensure()
    drawn, _ = submit(alice, project, tiny), submit(alice, project, tiny)
    lease(drawn)
    client = login(olga)
    page = reverse("admin:generation_device_changelist")
    client.post(page, {"action": "drain_selected", "_selected_action": [str(device.pk)]})
    assert claim_next(device, []) is None
    assert "draining: 1 left" in client.get(page).content.decode()
    request_cancel(request=drawn)
    GenerationRequest.objects.filter(pk=drawn.pk).update(state="canceled", lease_token=None)
    assert "drained: empty" in client.get(page).content.decode()
    device_drain(device=device, user=olga)
    device_resume(device=device, user=olga)
    assert claim_next(device, []) is not None
    device_pause(device=device, user=olga)
    assert "paused: 1 left" in client.get(page).content.decode()
    verbs = AuditEvent.objects.filter(target_kind="device").order_by("created_at").values_list("verb", flat=True)
    assert list(verbs) == ["device.drain", "device.resume", "device.pause"]


def test_the_admin_puts_first_and_tells_what_it_cannot(
    alice: User, olga: User, project: Project, tiny: Checkpoint, login: Login
) -> None:
    waits, drawn = submit(alice, project, tiny), submit(alice, project, tiny)
    lease(drawn)
    page, both = reverse("admin:generation_generationrequest_changelist"), [str(waits.pk), str(drawn.pk)]
    answer = login(olga).post(page, {"action": "promote_selected", "_selected_action": both}, follow=True)
    assert "1 put first." in answer.content.decode()
    assert "not waiting any more" in answer.content.decode()
    assert list(GenerationRequest.objects.filter(promoted_at__isnull=False)) == [waits]
    assert login(olga).get(page).content.decode().count("Now, put first") == 1, "the list shows which"


def test_the_page_offers_the_lane_and_what_is_left(
    alice: User, project: Project, tiny: Checkpoint, login: Login, settings: Any
) -> None:
    client = login(alice)
    assert "for today" not in client.get("/").content.decode()
    settings.SECONDS_A_DAY = 5
    assert "5 s of your 5 s of the device are left for today." in client.get("/").content.decode()
    wish = {"prompt": "a cat", "checkpoint": "tiny", "size": "32x32", "count": "2", "project": str(project.pk)}
    made = client.post("/requests/new/", wish | {"lane": "now"}, headers=HTMX).content.decode()
    assert "1 s of your 5 s of the device are left for today." in made
    refused = client.post("/requests/new/", wish, headers=HTMX)
    assert refused.status_code == 422
    assert 'id="error-lane" hx-swap-oob="innerHTML">This is foretold to take 4 s' in refused.content.decode()
    assert "Choose now or overnight." in client.post("/requests/new/", wish | {"lane": "x"}).content.decode()
    night = client.post("/requests/new/", wish | {"lane": "overnight"}, headers=HTMX)
    assert ">Overnight</span>" in night.content.decode().replace("</svg>", ">")
    assert own_order(alice)[1].lane == "overnight"


def test_the_page_moves_ones_own_only(
    alice: User, bob: User, olga: User, project: Project, tiny: Checkpoint, login: Login
) -> None:
    first, second = submit(alice, project, tiny), submit(alice, project, tiny)
    door = reverse("request_front", args=[second.pk])
    for somebody in (bob, olga):
        assert login(somebody).post(door).status_code == 404
    client = login(alice)
    assert client.get(door).status_code == 405
    assert client.get("/").content.decode().count("data-request-front") == 1
    moved = client.post(door, headers=HTMX).content.decode()
    assert own_order(alice) == [second, first]
    assert moved.count('hx-swap-oob="true"') == 2
    assert moved.count("data-request-front") == 1
    back = client.post(reverse("request_front", args=[first.pk]), {"back": "history"})
    assert back.url == "/history/"
    lease(first)
    assert client.post(reverse("request_front", args=[first.pk]), headers=HTMX).status_code == 422


def test_operators_set_quotas_and_it_is_written_down(
    alice: User, olga: User, team: Project, tiny: Checkpoint, login: Login
) -> None:
    client = login(olga)
    wish = {"user": str(alice.pk), "seconds_a_day": "60", "checkpoints": ["tiny"]}
    assert client.post(reverse("admin:accounts_quota_add"), wish).status_code == 302
    quota = Quota.objects.get(user=alice)
    assert (quota.seconds_a_day, quota.most_queued, quota.checkpoints) == (60, None, ["tiny"])
    line = AuditEvent.objects.get(verb="quota.change")
    assert (line.actor, line.owner, line.detail) == (olga, alice, "seconds_a_day 60; checkpoints tiny")
    page = client.get(reverse("admin:accounts_quota_changelist")).content.decode()
    assert "60 s" in page
    assert "1,000" in page, "open requests overnight, as set"
    door = reverse("admin:generation_projectquota_add")
    assert client.post(door, {"project": str(team.pk), "most_queued": "3"}).status_code == 302
    assert ProjectQuota.objects.get().most_queued == 3
    assert "unlimited" in client.get(reverse("admin:generation_projectquota_changelist")).content.decode()
    Checkpoint.objects.update(name="renamed")
    change = client.get(reverse("admin:accounts_quota_change", args=[quota.pk]))
    assert "tiny (gone)" in change.content.decode()


def test_operators_set_what_a_device_costs(olga: User, login: Login, db: None) -> None:
    device = device_ensure()
    door = reverse("admin:generation_device_change", args=[device.pk])
    assert login(olga).post(door, {"watts": "350", "price_per_hour": "1.25"}).status_code == 302
    device = Device.objects.get()
    assert (device.watts, str(device.price_per_hour)) == (350, "1.2500")
    assert AuditEvent.objects.get().detail == "watts 350, price_per_hour 1.25"


def test_a_device_that_is_away_takes_nothing_and_tells_its_machine(olga: User, login: Login, db: None) -> None:
    beats = {"host": "render-1", "version": software_version(), "key_mark": key_mark(), "memory_total": 0}
    now = timezone.now()
    gone = Device.objects.create(name="gone", heartbeat_at=now - timedelta(days=2), **beats)
    Device.objects.create(name="new", **beats)
    client, door = login(olga), reverse("admin:generation_device_changelist")
    page = client.get(door).content.decode()
    assert page.count("no: it is silent") == page.count("no: never seen") == 1
    assert page.count("not told") == 2, "memory of both"
    Device.objects.update(heartbeat_at=now + timedelta(seconds=50))
    page = client.get(door).content.decode()
    assert "no: " not in page
    assert re.findall(r"-?[0-9]+ s ago", page) == ["0 s ago"] * 2, "its clock may be a little ahead"
    one = client.get(reverse("admin:generation_device_change", args=[gone.pk])).content.decode()
    assert ("render-1" in one, software_version() in one, "this page:" in one) == (True, True, False)
    Device.objects.update(version="0.0.1")
    one = client.get(reverse("admin:generation_device_change", args=[gone.pk])).content.decode()
    assert f"0.0.1; this page: {software_version()}" in one
