"""Checkpoints that are kept warm: there before somebody asks, never at the cost of another, let go when told to."""

import logging
from pathlib import Path

import pytest

from generation.engines import memory
from generation.engines.device import Device
from generation.engines.fragments import Note
from generation.engines.limits import Limits
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec
from generation.engines.plan import AS_IS
from tests.generation.engines import tiny
from tests.generation.engines.narrow import NarrowDevice


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))


def spec(folder: Path, name: str) -> CheckpointSpec:
    return CheckpointSpec(name, str(folder), "diffusion")


def held(manager: MemoryManager) -> dict[str, tuple[str, bool]]:
    return {one.name: (one.tier, one.keep_warm) for one in manager.ledger.holdings}


def test_they_are_there_before_somebody_asks_and_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, notes = [1000.0], list[Note]()
    monkeypatch.setattr("time.time", lambda: now[0])
    manager = MemoryManager(Device("cpu"), limits=Limits(idle_seconds=60), tell=notes.append)
    a, b = spec(folder, "a"), spec(folder, "b")
    manager.keep_warm([a])
    manager.keep_warm([a])
    assert held(manager) == {"a": ("device", True)}
    assert [note.message for note in notes] == ["Loading a", "Loaded a"], "once"
    assert manager.ledger.holdings[0].precision == "fp32"
    manager.settle(None)
    assert (manager.ledger.wishes, manager.ledger.creep) == (0, 0)
    now[0] += 1000
    manager.rest()
    assert held(manager) == {"a": ("device", True)}
    manager.keep_warm([b])
    assert held(manager) == {"a": ("device", False), "b": ("device", True)}
    manager.rest()
    assert held(manager) == {"b": ("device", True)}


def test_one_that_was_laid_aside_is_woken(folder: Path) -> None:
    manager = MemoryManager(NarrowDevice(), limits=Limits(most=1))
    a, b = spec(folder, "a"), spec(folder, "b")
    for one in (a, b):
        with manager.acquire(one):
            pass
    assert held(manager)["a"][0] == "warm"
    manager.keep_warm([a])
    assert held(manager)["a"][0] == "warm", "not at the cost of another"
    manager._forget(manager._tiers.resident(), "a test")
    manager.keep_warm([a])
    assert held(manager) == {"a": ("device", True)}


def test_nobody_is_driven_out_for_it(folder: Path) -> None:
    device = NarrowDevice()
    manager = MemoryManager(device, limits=Limits(reserve=1))
    with manager.acquire(spec(folder, "a"), AS_IS):
        device.limit = device.memory_used() * 3 // 2
    narrow = MemoryManager(device, limits=Limits(reserve=1))
    narrow.keep_warm([spec(folder, "b")])
    assert held(narrow) == {}
    assert device.refused == 0, "it was measured before, not tried"


def test_a_broken_one_is_told_once_and_stops_no_other(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = MemoryManager(Device("cpu"))
    gone = CheckpointSpec("gone", str(tmp_path / "gone"), "diffusion")
    with caplog.at_level(logging.WARNING, logger=memory.__name__):
        for _ in range(2):
            manager.keep_warm([gone, spec(folder, "a")])
    assert held(manager) == {"a": ("device", True)}
    told = [line.message for line in caplog.records if "gone is not kept warm" in line.message]
    assert len(told) == 1
