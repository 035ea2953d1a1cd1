"""What is done for a real engine room between two requests: operators obeyed, limits followed, a fresh one in time."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import AuditEvent, User
from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError
from generation.engines.limits import MEBIBYTE, Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.limits import limits_of
from generation.models import Device
from generation.runner import upkeep
from generation.runner.room_settings import settings_of
from generation.runner.upkeep import Upkeep
from generation.services.checkpoints import checkpoint_register, checkpoint_set_keep_warm
from generation.services.devices import command_request, device_ensure, device_set_limits
from tests.generation.engines.tiny import save_mosaic

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def device(db: None, settings: Any) -> Device:
    """Small and plain, whatever this machine has."""
    settings.DEVICE, settings.THREADS = "cpu", 1
    return device_ensure()


@pytest.fixture
def room(device: Device) -> Iterator[RoomClient]:
    """Open."""
    with RoomClient(settings_of(device)) as opened:
        opened.start()
        yield opened


def draw(room: RoomClient, folder: Path, spec: CheckpointSpec | None = None) -> None:
    """One picture."""
    spec = spec or CheckpointSpec("mosaic", str(folder), "multimodal")
    assert list(room.generate(spec, GenerationParams("a cat", 32, 32, 7)))


def test_a_row_goes_before_the_settings(device: Device, olga: User, settings: Any) -> None:
    settings.MEMORY_BUDGET_MB, settings.IDLE_MINUTES = 4000, 5
    assert (limits_of(device).budget, limits_of(device).idle_seconds) == (4_000_000_000, 300.0)
    device_set_limits(device=device, limits={"memory_budget_mb": 100, "idle_minutes": 0}, user=olga)
    device.refresh_from_db()
    assert (limits_of(device).budget, limits_of(device).idle_seconds) == (100_000_000, 0.0)
    assert limits_of().budget == 4_000_000_000
    line = AuditEvent.objects.get(verb="device.limits")
    assert (line.actor, line.detail) == (olga, "memory_budget_mb 100, idle_minutes 0")
    with pytest.raises(ValueError, match="paused"):
        device_set_limits(device=device, limits={"paused": 1}, user=olga)


def test_changed_limits_are_followed_by_a_fresh_room(device: Device, room: RoomClient, olga: User) -> None:
    keeper, before = Upkeep(device, room), room.start().pid
    keeper.between()
    assert room.start().pid == before, "nothing was due"
    device_set_limits(device=device, limits={"recycle_after": 50}, user=olga)
    keeper.between()
    assert (room.start().pid, room.settings.recycle_after) == (before, 50), "that needs no new room"
    device_set_limits(device=device, limits={"memory_budget_mb": 900, "most_loaded": 1}, user=olga)
    keeper.between()
    assert room.status() is None
    fresh = room.start()
    assert fresh.pid != before
    assert fresh.ledger["budget"] == 900_000_000
    device.refresh_from_db()
    assert (device.recycles, device.recycle_reason) == (1, upkeep.CHANGED)
    assert device.recycled_at is not None


def test_a_room_that_drew_often_enough_is_replaced(
    device: Device, room: RoomClient, tmp_path: Path, settings: Any
) -> None:
    keeper, before = Upkeep(device, room), room.start().pid
    settings.RECYCLE_AFTER = 2
    for _ in range(2):
        keeper.between()
        assert room.start().pid == before
        draw(room, save_mosaic(tmp_path / "mosaic"))
    keeper.between()
    assert room.status() is None
    device.refresh_from_db()
    assert (device.recycles, device.recycle_reason) == (1, "it had drawn 2 times")


def test_a_room_that_grew_is_replaced(device: Device, room: RoomClient, settings: Any) -> None:
    settings.CREEP_LIMIT_MB = 50
    keeper, status = Upkeep(device, room), room.start()
    grown = replace(status, ledger={**status.ledger, "creep": 80 * MEBIBYTE})
    room.status = lambda: grown  # type: ignore[method-assign]
    keeper.between()
    device.refresh_from_db()
    assert device.recycle_reason == "its memory had grown by 80 MB"


def held(room: RoomClient) -> dict[str, tuple[str, bool]]:
    status = room.status()
    assert status is not None
    return {one["name"]: (one["tier"], one["keep_warm"]) for one in status.ledger["holdings"]}


def test_what_is_kept_warm_is_there_before_somebody_asks_and_after_a_new_room(
    device: Device, room: RoomClient, olga: User, tmp_path: Path
) -> None:
    mosaic, keeper = checkpoint_register(path=save_mosaic(tmp_path / "mosaic")), Upkeep(device, room)
    keeper.keep_warm(lambda: None)
    assert held(room) == {}
    checkpoint_set_keep_warm(checkpoint=mosaic, keep_warm=True, user=olga)
    keeper.keep_warm(lambda: None)
    assert held(room) == {"mosaic": ("device", True)}
    status = room.start()
    assert (status.ledger["wishes"], status.ledger["creep"]) == (0, 0), "that was no wish, and is no growth"
    room.close()
    room.start()
    keeper.keep_warm(lambda: None)
    assert held(room) == {"mosaic": ("device", True)}
    checkpoint_set_keep_warm(checkpoint=mosaic, keep_warm=False, user=olga)
    keeper.keep_warm(lambda: None)
    assert held(room) == {"mosaic": ("device", False)}


def test_what_an_operator_unloads_stays_away_until_the_next_request(
    device: Device, room: RoomClient, olga: User, tmp_path: Path
) -> None:
    mosaic, keeper = checkpoint_register(path=save_mosaic(tmp_path / "mosaic")), Upkeep(device, room)
    other = save_mosaic(tmp_path / "other")
    checkpoint_set_keep_warm(checkpoint=mosaic, keep_warm=True, user=olga)
    keeper.keep_warm(lambda: None)
    command_request(device=device, kind="unload", user=olga)
    keeper.between()
    for _ in range(2):
        keeper.keep_warm(lambda: None)
        assert held(room) == {}
    draw(room, other, CheckpointSpec("other", str(other), "multimodal"))
    keeper.keep_warm(lambda: None)
    assert held(room) == {"other": ("device", False), "mosaic": ("device", True)}


def test_what_nobody_uses_is_let_go_but_not_what_is_kept_warm(device: Device, tmp_path: Path) -> None:
    kept, idle = (str(save_mosaic(tmp_path / name)) for name in ("kept", "idle"))
    tiers = list[dict[str, tuple[str, bool]]]()
    with RoomClient(replace(settings_of(device), limits=Limits(idle_seconds=10))) as room:
        room.keep_warm([CheckpointSpec("kept", kept, "multimodal")])
        draw(room, tmp_path, CheckpointSpec("idle", idle, "multimodal"))
        end = time.monotonic() + 200
        while "idle" in held(room) and time.monotonic() < end:
            tiers.append(held(room))
            time.sleep(0.2)
        assert held(room) == {"kept": ("device", True)}
    assert tiers[0]["idle"] == ("device", False)
    assert tiers[-1]["idle"] == ("warm", False), "laid aside first"


def test_a_stop_is_heard_while_one_is_loaded(device: Device, room: RoomClient, olga: User, tmp_path: Path) -> None:
    def stopping() -> None:
        raise CanceledError("The worker stops.")

    mosaic = checkpoint_register(path=save_mosaic(tmp_path / "mosaic"))
    checkpoint_set_keep_warm(checkpoint=mosaic, keep_warm=True, user=olga)
    with pytest.raises(CanceledError):
        Upkeep(device, room).keep_warm(stopping)


def test_an_operators_restart_counts_and_is_done_once(device: Device, room: RoomClient, olga: User) -> None:
    keeper, before = Upkeep(device, room), room.start().pid
    command_request(device=device, kind="restart", user=olga)
    for _ in range(2):
        keeper.between()
        assert room.start().pid != before
    device.refresh_from_db()
    assert (device.recycles, device.recycle_reason) == (1, upkeep.ASKED)


def test_a_database_that_does_not_answer_puts_it_off(
    device: Device, room: RoomClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(**changes: Any) -> list[str]:
        raise OperationalError("database is locked")

    before = room.start().pid
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "commands_take", locked)
        Upkeep(device, room).between()
    assert room.start().pid == before
