"""The traffic cop, with real tiny engines on the real CPU."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.errors import CanceledError, CheckpointError, DeviceMemoryError
from generation.engines.fragments import LOADED, LOADING, PURGED, Note
from generation.engines.limits import Limits
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from tests.generation.engines import tiny
from tests.generation.engines.narrow import NarrowDevice


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_mosaic(tmp_path_factory.mktemp("mosaic"))


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture
def notes() -> list[Note]:
    return []


@pytest.fixture
def manager(notes: list[Note]) -> MemoryManager:
    """One at a time."""
    return MemoryManager(Device("cpu"), limits=Limits(most=1), tell=notes.append)


def spec(folder: Path, name: str = "first", **about: bool) -> CheckpointSpec:
    family = "diffusion" if (folder / "model_index.json").exists() else "multimodal"
    return CheckpointSpec(name, str(folder), family, **about)  # type: ignore[arg-type]


def draws(engine: Engine) -> bool:
    """Whether a first fragment comes."""
    with closing(engine.generate(GenerationParams("a cat", 32, 32, 7), CancelToken())) as drawing:  # type: ignore[type-var]
        return next(drawing) is not None


def held(manager: MemoryManager) -> dict[str, str]:
    """The tier of each checkpoint."""
    return {holding.name: holding.tier for holding in manager.ledger.holdings}


def test_what_is_resident_is_not_loaded_again(manager: MemoryManager, notes: list[Note], folder: Path) -> None:
    with manager.acquire(spec(folder)) as first:
        assert draws(first)
    with manager.acquire(spec(folder)) as second:
        assert second is first
    assert [note.kind for note in notes] == [LOADING, LOADED]
    [(name, size)] = manager.resident
    assert (name, size) == ("first", first.size_bytes())
    assert size > 0


def test_one_at_a_time_and_every_move_is_told(manager: MemoryManager, notes: list[Note], folder: Path) -> None:
    with manager.acquire(spec(folder)) as first:
        pass
    with manager.acquire(spec(folder, "second")):
        assert [name for name, _ in manager.resident] == ["second"]
        assert held(manager) == {"first": "warm", "second": "device"}
    with manager.acquire(spec(folder)) as again:
        assert again is first, "not read anew"
        assert draws(again)
    assert [note.kind for note in notes] == [LOADING, LOADED, PURGED, LOADING, LOADED, PURGED, LOADING, LOADED]
    purge, load, wake = notes[2], notes[4], notes[7]
    assert purge.message == "Laid aside first: second is asked for"
    assert purge.detail["freed"] == purge.detail["before"] - purge.detail["after"]
    assert purge.detail["checkpoints"] == ["first"]
    assert (load.detail["checkpoint"], load.detail["tier"]) == ("second", "files")
    assert (wake.message, wake.detail["tier"]) == ("Woke first", "warm")
    for note in (purge, load, wake):
        assert note.detail["seconds"] >= 0
        assert note.detail["before"] > 0


def test_what_is_in_use_never_moves(manager: MemoryManager, folder: Path) -> None:
    with manager.acquire(spec(folder)) as first:
        [holding] = manager.ledger.holdings
        assert holding.leases == 1
        with pytest.raises(DeviceMemoryError, match="in use"), manager.acquire(spec(folder, "second")):
            pass
        assert manager.purge("a test") == 0
        assert draws(first), "it still draws"
    manager.purge("a test")
    assert manager.resident == ()
    assert first.size_bytes() == 0


def test_as_many_stay_as_fit_and_the_longest_unused_goes_first(notes: list[Note], diffusion: Path) -> None:
    device = NarrowDevice()
    manager = MemoryManager(device, limits=Limits(reserve=1), tell=notes.append)
    with manager.acquire(spec(diffusion, "a")):
        size = device.memory_used()
    device.limit = 2 * size + size // 2
    manager = MemoryManager(device, limits=Limits(reserve=1), tell=notes.append)
    manager.purge("a test")
    for name in ("a", "b", "a", "c"):
        with manager.acquire(spec(diffusion, name)):
            assert device.memory_used() <= device.limit
    assert [name for name, _ in manager.resident] == ["a", "c"]
    assert held(manager) == {"b": "warm", "a": "device", "c": "device"}
    assert device.refused == 0, "it was measured before, not tried"


def test_what_is_laid_aside_holds_nothing_on_the_device_and_comes_back_as_it_was(diffusion: Path) -> None:
    device = NarrowDevice()
    manager = MemoryManager(device, limits=Limits(most=1))
    pictures = []
    for name in ("a", "b", "a"):
        with manager.acquire(spec(diffusion, name)) as engine:
            pictures.append(list(engine.generate(GenerationParams("a cat", 32, 32, 7), CancelToken())))
            one = device.memory_used()
    [warm] = [holding for holding in manager.ledger.holdings if holding.tier == "warm"]
    assert (warm.name, warm.device_bytes) == ("b", 0)
    assert warm.warm_bytes > 0
    manager.purge("a test")
    assert device.memory_used() < one / 10, "small tensors at most"
    finals = [drawn[-1] for drawn in pictures]
    assert (finals[0].pixels == finals[2].pixels).all()  # type: ignore[union-attr]


def test_masters_are_pinned_once_as_far_as_host_memory_allows(diffusion: Path) -> None:
    device = NarrowDevice()
    manager = MemoryManager(device, limits=Limits(most=1))
    for name in ("a", "b", "a", "b"):
        with manager.acquire(spec(diffusion, name)) as engine:
            assert engine.weights is not None and engine.weights.pinned_bytes > 0
            assert not any(weight.mapped for weight in engine.weights.all)
    pinned, room = device.pinned, device.pinnable
    assert pinned == 2 * len(engine.weights.all), "not again when they come back"
    manager.purge("a test")
    assert device.pinnable == manager.ledger.warm_budget > room
    narrow = MemoryManager(NarrowDevice(), limits=Limits(most=1, warm=50_000))
    with narrow.acquire(spec(diffusion)) as engine:
        assert engine.weights is not None and 0 < engine.weights.pinned_bytes <= 50_000
        assert any(weight.mapped for weight in engine.weights.all), "the others stay mapped"
        assert draws(engine)


def test_host_memory_has_its_own_budget_and_kept_warm_ones_go_last(notes: list[Note], diffusion: Path) -> None:
    size = sum(file.stat().st_size for file in diffusion.rglob("*.safetensors"))
    manager = MemoryManager(NarrowDevice(), limits=Limits(most=1, warm=size * 3 // 2), tell=notes.append)
    for name in ("a", "b", "c"):
        with manager.acquire(spec(diffusion, name, keep_warm=name == "a")):
            pass
    assert held(manager) == {"a": "warm", "c": "device"}
    assert "Unloaded b: host memory is full" in [note.message for note in notes]


def test_idle_ones_are_laid_aside_then_forgotten_but_not_those_kept_warm(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    manager = MemoryManager(Device("cpu"), limits=Limits(idle_seconds=60))
    for name in ("a", "b"):
        with manager.acquire(spec(folder, name, keep_warm=name == "a")):
            pass
    manager.rest()
    assert held(manager) == {"a": "device", "b": "device"}
    now[0] += 61
    manager.rest()
    assert held(manager) == {"a": "device", "b": "warm"}
    now[0] += 60
    manager.rest()
    assert held(manager) == {"a": "device"}


def test_what_cannot_fit_is_refused_with_figures_before_anything_is_read(notes: list[Note], folder: Path) -> None:
    manager = MemoryManager(NarrowDevice(), limits=Limits(budget=1000), tell=notes.append)
    with pytest.raises(DeviceMemoryError, match=r"first needs \d+ MB for 32x32, this device gives 0 MB\.") as caught:
        manager.plan_for(spec(folder), GenerationParams("a cat", 32, 32, 7))
    assert caught.value.hint
    assert notes == []


def test_a_failed_load_leaves_nothing_and_the_next_one_works(
    manager: MemoryManager, folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError), manager.acquire(spec(tmp_path, "broken")):
        pass
    assert manager.resident == ()
    with manager.acquire(spec(folder)) as engine:
        assert draws(engine)


def test_a_cancel_keeps_the_engine_a_crash_does_not(manager: MemoryManager, notes: list[Note], folder: Path) -> None:
    with pytest.raises(CanceledError), manager.acquire(spec(folder)):
        raise CanceledError("Canceled.")
    assert len(manager.resident) == 1
    with pytest.raises(ZeroDivisionError), manager.acquire(spec(folder)):
        raise ZeroDivisionError
    assert manager.resident == ()
    assert notes[-1].kind == PURGED and notes[-1].message == "Unloaded first: it failed unexpectedly"


class FailingDevice(Device):
    """A real CPU that runs out of memory the first times something is put on it."""

    def __init__(self, failures: int) -> None:
        super().__init__("cpu")
        self.failures = failures
        self.purges = 0

    def purge(self) -> None:
        self.purges += 1
        super().purge()


@pytest.fixture
def narrow_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading itself meets the failure, as it would on a full card."""
    from generation.engines.multimodal import MultimodalEngine

    load = MultimodalEngine.load

    def sometimes(self: MultimodalEngine, device: Device, plan: Plan) -> None:
        load(self, device, plan)
        if isinstance(device, FailingDevice) and device.failures:
            device.failures -= 1
            raise DeviceMemoryError("The cpu ran out of memory.")

    monkeypatch.setattr(MultimodalEngine, "load", sometimes)


@pytest.mark.usefixtures("narrow_loading")
def test_out_of_memory_is_purged_and_tried_once_more(notes: list[Note], folder: Path) -> None:
    device = FailingDevice(failures=0)
    manager = MemoryManager(device, tell=notes.append)
    with manager.acquire(spec(folder, "old")):
        pass
    device.failures = 1
    with manager.acquire(spec(folder, "new")) as engine:
        assert draws(engine)
    assert [name for name, _ in manager.resident] == ["new"]
    assert [note.kind for note in notes] == [LOADING, LOADED, LOADING, PURGED, LOADING, LOADED]
    assert notes[3].message == "Unloaded old: new did not fit"


@pytest.mark.usefixtures("narrow_loading")
def test_out_of_memory_twice_is_a_clear_failure_and_the_next_one_works(folder: Path) -> None:
    device = FailingDevice(failures=2)
    manager = MemoryManager(device)
    with pytest.raises(DeviceMemoryError, match="does not fit") as caught, manager.acquire(spec(folder)):
        pass
    assert caught.value.hint
    assert manager.resident == ()
    assert device.purges
    with manager.acquire(spec(folder)) as engine:
        assert draws(engine)
