"""Memory of packed weights that leave: kept for those that come, never longer than until they are there."""

import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from generation.engines import heap, janus_core
from generation.engines.base import CancelToken
from generation.engines.device import CLEAR_REFS, Device
from generation.engines.errors import DeviceMemoryError
from generation.engines.limits import Limits
from generation.engines.memory import SLACK, MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.products import Packed, packs

KILOBYTE = 1024


@pytest.fixture(autouse=True)
def clear() -> None:
    heap.clear_shelf()


def shelved(count: int, size: int = 100 * KILOBYTE) -> list[weakref.ref[torch.Tensor]]:
    """Blocks of one size; the first has the highest address."""
    lives = []
    for number in range(count):
        block = torch.empty(size, dtype=torch.uint8)
        heap.shelve(block, count - number, size)
        lives.append(weakref.ref(block))
        del block
    return lives


def test_blocks_are_freed_in_the_order_of_their_addresses_as_they_are_asked_for() -> None:
    lives = shelved(4)
    heap.free_for(20 * KILOBYTE)
    assert [life() is None for life in lives] == [False, False, False, True]
    heap.free_for(10 * KILOBYTE)
    assert [life() is None for life in lives] == [False, False, False, True], "there was enough left"
    heap.free_for(100 * KILOBYTE)
    assert [life() is None for life in lives] == [False, False, True, True]
    assert heap.shelved_bytes() == 200 * KILOBYTE
    heap.free_for(10**9)
    assert heap.shelved_bytes() == 0


def test_no_more_is_kept_than_will_be_used() -> None:
    lives = shelved(4)
    heap.keep_shelved(250 * KILOBYTE)
    assert [life() is None for life in lives] == [True, True, False, False]


def test_what_waits_does_not_count_as_used() -> None:
    device, block = Device("cpu"), torch.ones(64 * 1024 * KILOBYTE, dtype=torch.uint8)
    before = device.memory_used()
    heap.shelve(block, 1, block.nbytes)
    assert device.memory_used() <= before - block.nbytes // 2
    device.purge()
    assert heap.shelved_bytes() == 0


def test_a_product_that_retires_leaves_its_memory_and_nothing_else() -> None:
    if not packs():
        pytest.skip("this machine cannot")
    layers = [nn.Linear(64, 48), nn.Linear(64, 16)]
    product = Packed(layers)
    product.retire()
    assert heap.shelved_bytes() == 64 * 64 * 4
    assert product._weight is None


def test_after_a_swap_nothing_waits(janus_folder: Path) -> None:
    manager = MemoryManager(Device("cpu"), limits=Limits(most=1))
    params, drawn = GenerationParams("a cat", 16, 16, 7), []
    for name in ("a", "b", "a", "b"):
        with manager.acquire(CheckpointSpec(name, str(janus_folder), "multimodal")) as engine:
            assert heap.shelved_bytes() == 0
            drawn.append(list(engine.generate(params, CancelToken()))[-1].pixels.tobytes())  # type: ignore[union-attr]
    assert len(set(drawn)) == 1
    manager.limits = Limits(idle_seconds=1e-9)
    manager.rest()
    assert heap.shelved_bytes() == 0


def test_nothing_waits_while_one_draws_that_was_there_already(janus_folder: Path) -> None:
    manager = MemoryManager(Device("cpu"))
    for name in ("a", "b"):
        with manager.acquire(CheckpointSpec(name, str(janus_folder), "multimodal")):
            pass
    with manager.acquire(CheckpointSpec("b", str(janus_folder), "multimodal"), need=10**15):
        assert [name for name, _ in manager.resident] == ["b"], "the other one made room"
        assert heap.shelved_bytes() == 0


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="the system keeps the peak of the whole process only")
def test_what_waited_does_not_count_as_need(janus_folder: Path) -> None:
    manager, spec = MemoryManager(Device("cpu")), CheckpointSpec("a", str(janus_folder), "multimodal")
    with manager.acquire(spec):
        pass
    heap.shelve(torch.ones(256 * 1024 * KILOBYTE, dtype=torch.uint8), 1, 256 * 1024 * KILOBYTE)
    with manager.acquire(spec):
        assert manager.device.peak_memory() - manager.outside < 128 * 1024 * KILOBYTE


def test_a_wake_that_fails_leaves_nothing(janus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = MemoryManager(Device("cpu"), limits=Limits(most=1))
    specs = [CheckpointSpec(name, str(janus_folder), "multimodal") for name in ("a", "b")]
    for spec in specs:
        with manager.acquire(spec):
            pass

    def too_much(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as short:
        short.setattr(janus_core, "_Head", too_much)
        with pytest.raises(DeviceMemoryError), manager.acquire(specs[0]):
            pass
    assert heap.shelved_bytes() == 0
    with manager.acquire(specs[0]) as engine:
        assert list(engine.generate(GenerationParams("a cat", 16, 16, 7), CancelToken()))


class Heaped(Device):
    """A CPU on which so much is merely free in the heap, until that is given back."""

    free = 0

    def memory_used(self) -> int:
        return super().memory_used() + self.free

    def trim(self) -> None:
        self.free = 0
        super().trim()


def test_what_is_merely_free_is_neither_growth_nor_drives_anybody_out(janus_folder: Path) -> None:
    device = Heaped("cpu")
    manager, spec = MemoryManager(device), CheckpointSpec("a", str(janus_folder), "multimodal")
    for _ in range(2):
        with manager.acquire(spec):
            pass
        manager.settle(spec)
    grown = manager.ledger.creep
    device.free = 4 * SLACK
    manager.settle(spec)
    assert device.free == 0, "a closer look"
    assert manager.ledger.creep <= grown + SLACK
    device.free = 4 * SLACK
    manager.settle(spec)
    assert device.free == 4 * SLACK, "the next picture finds it; nobody looks closer twice a minute"
    assert manager.ledger.creep <= grown + SLACK
    device.free = manager.ledger.budget
    with manager.acquire(CheckpointSpec("b", str(janus_folder), "multimodal")):
        assert {name for name, _ in manager.resident} == {"a", "b"}
