"""Metal through a stand-in for `torch.mps`: which calls, in which order. What Metal itself does is not checked here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from generation.engines import device as devices
from generation.engines import metal
from generation.engines.device import Device, is_out_of_memory
from generation.engines.footprint import Footprint
from generation.engines.limits import Limits
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams

GIBIBYTE = 1024**3


class Mps:
    """Remembers calls; gives the figures of a machine with 16 GiB."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.allocated = 3 * GIBIBYTE
        self.fraction = 0.0

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        self.calls.append("fraction")
        self.fraction = fraction

    def driver_allocated_memory(self) -> int:
        return self.allocated

    def current_allocated_memory(self) -> int:
        return self.allocated // 2

    def recommended_max_memory(self) -> int:
        return 11 * GIBIBYTE

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def empty_cache(self) -> None:
        self.calls.append("empty_cache")
        self.allocated = GIBIBYTE


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Mps:
    stand_in = Mps()
    monkeypatch.setattr(torch, "mps", stand_in)
    return stand_in


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch, mps: Mps) -> Callable[[], int]:
    monkeypatch.setattr(metal.gc, "collect", lambda: mps.calls.append("collect"))
    return lambda: mps.calls.count("collect")


def test_memory_that_runs_out_is_an_error_and_not_a_swapping_machine(mps: Mps) -> None:
    Device("mps")
    assert mps.calls == ["fraction"]
    assert mps.fraction == 1.0


def test_a_budget_is_held_by_the_allocator_and_sizes_that_metal_aborts_for_begin_sliced(
    mps: Mps, diffusion_folder: Path
) -> None:
    memory = MemoryManager(Device("mps"), limits=Limits(budget=5 * GIBIBYTE))
    assert mps.calls == ["fraction", "fraction"]
    assert mps.fraction == pytest.approx(5 / 11)
    spec = CheckpointSpec("tiny", str(diffusion_folder), "diffusion", precision="fp32", footprint=Footprint().to_dict())
    plans = [memory.plan_for(spec, GenerationParams("a cat", edge, edge, 7))[0].memory for edge in (512, 1024)]
    assert plans == ["whole", "sliced"]


def test_a_purge_drops_garbage_then_the_cache_then_waits(mps: Mps, collected: Callable[[], int]) -> None:
    device = Device("mps")
    mps.calls.clear()
    device.purge()
    assert mps.calls == ["collect", "empty_cache", "synchronize"]
    assert collected() == 1


def test_it_counts_what_the_driver_gave(mps: Mps) -> None:
    device = Device("mps")
    assert device.memory_used() == 3 * GIBIBYTE
    assert device.memory_total() == 11 * GIBIBYTE
    device.reset_peak()
    device.memory_used()
    mps.allocated = GIBIBYTE
    assert device.peak_memory() == 3 * GIBIBYTE, "it keeps no peak itself, so we do"


def test_attention_too_large_for_one_array_is_sliced_from_the_start(mps: Mps) -> None:
    device = Device("mps")
    assert device.starting_rung(512, 512) == "whole"
    assert device.starting_rung(1024, 1024) == "sliced"
    assert metal.must_slice(768, 768) is (4 * GIBIBYTE < 96**4 * 8 * 2 * 4)
    assert Device("cpu").starting_rung(4096, 4096) == "whole"


def test_its_way_to_say_that_memory_ran_out_is_understood() -> None:
    text = "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.2 GB, max allowed: 9.07 GB)."
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(RuntimeError("could not create a primitive")), "oneDNN under a limit set by the system"
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def test_narrow_numbers_are_found_by_trying(mps: Mps, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 needs macOS 14 on Apple silicon, which no version number tells well."""
    from generation.engines import precision

    tried: list[torch.dtype] = []

    def probe(kind: str, dtype: torch.dtype) -> bool:
        tried.append(dtype)
        return dtype is not torch.bfloat16

    monkeypatch.setattr(precision, "_probe", probe)
    assert precision.choose(Device("mps")) == "fp32"
    assert tried == [torch.bfloat16, torch.float32]
    assert "fp16" not in precision.BEST["mps"], "its attention is black from macOS 14.5 on"


def test_a_device_that_does_not_work_is_found_by_trying(monkeypatch: pytest.MonkeyPatch, mps: Mps) -> None:
    monkeypatch.setattr(devices, "works", lambda kind: kind in {"mps", "cpu"})
    assert Device.choose("auto").kind == "mps"
