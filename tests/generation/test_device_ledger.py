"""The memory ledger on a device's page: what it tells, to whom, and what its buttons do."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, User
from generation.engines.ledger import Holding, Ledger
from generation.engines.protocol import RoomStatus
from generation.models import Checkpoint, Device, DeviceCommand, Project
from generation.services.devices import device_beat, device_ensure, device_recycled, device_silence
from tests.generation.queue import make_checkpoint, submit

Login = Callable[[User], Client]

MB = 1_000_000


@pytest.fixture
def device(db: None) -> Device:
    """Two checkpoints are held, one of them draws."""
    now = time.time()
    holdings = (
        Holding("big", "device", 2_000 * MB, 0, "bf16", "tiled", 1, False, now - 60, now - 5),
        Holding("small", "warm", 0, 300 * MB, "fp32", "whole", 0, False, now - 90, now - 80),
    )
    ledger = Ledger(8_000 * MB, 4_000 * MB, False, "bf16", 500 * MB, 40 * MB, 7, holdings)
    status = RoomStatus(4321, "cuda", (("big", 2_000 * MB),), 3_100 * MB, 10_000 * MB, ledger.to_dict())
    make_checkpoint("big", title="Big one")
    made = device_ensure()
    device_beat(device=made, worker_pid=1, status=status)
    made.refresh_from_db()
    return made


def fragment(client: Client, device: Device, **headers: str) -> str:
    answer = client.get(reverse("admin:generation_device_ledger", args=[device.pk]), headers=headers)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_tells_who_holds_what(olga: User, login: Login, device: Device) -> None:
    html = fragment(login(olga), device)
    assert "Engine room 4321 on cuda." in html
    for words in (
        "3.10 GB of 8.00 GB in use; the device has 10.00 GB",
        "300 MB of 4.00 GB wait<",
        "40 MB since the baseline of 500 MB; replaced above 1.00 GB",
        "7 since this engine room opened",
        "bf16, sliced and tiled",
        "waits in host memory",
        "on the device",
    ):
        assert words in html, words
    for label, size, share in (
        ("Engine room itself", "500 MB", "6.25"),
        ("Big one", "2.00 GB", "25.0"),
        ("Work and caches", "600 MB", "7.5"),
        ("Free", "4.90 GB", "61.25"),
    ):
        assert f'style="width:{share}%" title="{label}: {size}"' in html
    assert html.count("in use</strong>") == 1
    assert 'name="keep_warm" value="big"' in html
    assert 'value="small"' not in html, "it has no row, so nothing can be said about it"


def test_the_page_holds_it_and_asks_again(olga: User, login: Login, device: Device) -> None:
    html = login(olga).get(reverse("admin:generation_device_change", args=[device.pk])).content.decode()
    assert f'hx-get="{reverse("admin:generation_device_ledger", args=[device.pk])}"' in html
    assert "every 3s" in html
    assert "Engine room 4321" in html
    assert "generation/ledger.css" in html


def test_it_names_neither_words_nor_people(
    olga: User, alice: User, login: Login, device: Device, project: Project
) -> None:
    request = submit(alice, project, Checkpoint.objects.get(), prompt="zebra")
    Device.objects.update(drawing=request.pk)
    html = fragment(login(olga), device)
    assert f"Draws request {str(request.pk)[:8]}." in html
    assert not [word for word in ("zebra", "alice", "Alice", "Personal") if word in html]


@pytest.mark.parametrize(("headers", "status"), [({}, 403), ({"HX-Request": "true"}, 286)])
def test_others_see_nothing(
    alice: User, login: Login, client: Client, device: Device, headers: dict[str, str], status: int
) -> None:
    url = reverse("admin:generation_device_ledger", args=[device.pk])
    for visitor in (client, login(alice)):
        answer = visitor.get(url, headers=headers)
        assert answer.status_code == status
        assert b"4321" not in answer.content
        assert b"Log in again" in answer.content
        acted = visitor.post(reverse("admin:generation_device_act", args=[device.pk]), {"command": "unload"})
        assert acted.status_code == 302
        assert "login" in acted["Location"]
    assert not DeviceCommand.objects.exists()


def test_without_a_room_nothing_is_held(olga: User, login: Login, device: Device) -> None:
    device_beat(device=device, worker_pid=1, status=None)
    html = fragment(login(olga), device)
    assert "No engine room is open" in html
    assert "Big one" not in html
    Device.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert "The worker is silent." in fragment(login(olga), device)
    device_silence()
    assert "No worker has told anything yet." in fragment(login(olga), device)


@pytest.mark.parametrize("ledger", [{}, {"of another": "version"}])
def test_what_cannot_be_read_is_an_empty_ledger(olga: User, login: Login, device: Device, ledger: Any) -> None:
    Device.objects.update(ledger=ledger)
    assert "No checkpoint is held." in fragment(login(olga), device)


def test_a_replaced_room_is_told_with_its_reason(olga: User, login: Login, device: Device) -> None:
    device_recycled(device=device, reason="it had drawn 50 times")
    html = fragment(login(olga), device)
    assert "once; last" in html
    assert ": it had drawn 50 times" in html


@pytest.mark.parametrize("command", ["unload", "restart"])
def test_buttons_ask_the_worker(olga: User, login: Login, device: Device, command: str) -> None:
    client, url = login(olga), reverse("admin:generation_device_act", args=[device.pk])
    answer = client.post(url, {"command": command}, follow=True)
    assert "between two requests" in answer.content.decode()
    assert DeviceCommand.objects.get().kind == command
    assert AuditEvent.objects.get(verb=f"device.{command}").actor == olga
    assert client.post(url, {"command": "explode"}).status_code == 404
    assert client.get(url).status_code == 405


def test_one_is_kept_warm_and_let_go(olga: User, login: Login, device: Device) -> None:
    client, url = login(olga), reverse("admin:generation_device_act", args=[device.pk])
    assert client.post(url, {"keep_warm": "big"}).status_code == 302
    assert Checkpoint.objects.get().keep_warm
    Device.objects.update(ledger={})
    html = fragment(client, device)
    assert "not loaded" in html, "it will be"
    assert 'aria-pressed="true"' in html
    client.post(url, {"let_go": "big"})
    client.post(url, {"let_go": "big"})
    assert not Checkpoint.objects.get().keep_warm
    lines = AuditEvent.objects.filter(verb="checkpoint.keep_warm").order_by("created_at")
    assert [line.detail for line in lines] == ["Big one: kept warm", "Big one: let go"]
    assert client.post(url, {"keep_warm": "unknown"}).status_code == 404


def test_limits_are_written_by_the_service_and_nothing_else_is(olga: User, login: Login, device: Device) -> None:
    client, url = login(olga), reverse("admin:generation_device_change", args=[device.pk])
    html = client.get(url).content.decode()
    assert 'placeholder="as set: 60"' in html
    form = {"memory_budget_mb": "6000", "idle_minutes": "0", "name": "hacked", "room_pid": "1"}
    assert client.post(url, form).status_code == 302
    device.refresh_from_db()
    assert (device.memory_budget_mb, device.idle_minutes, device.most_loaded) == (6000, 0, None)
    assert (device.name, device.room_pid) == ("main", 4321)
    assert AuditEvent.objects.get(verb="device.limits").detail == "memory_budget_mb 6000, idle_minutes 0"
    assert client.post(url, {"memory_budget_mb": "", "idle_minutes": "0"}).status_code == 302
    device.refresh_from_db()
    assert (device.memory_budget_mb, device.idle_minutes) == (None, 0)
    assert client.post(url, {"memory_budget_mb": "-1"}).status_code == 200
    assert AuditEvent.objects.filter(verb="device.limits").count() == 2
