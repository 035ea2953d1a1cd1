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
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from tests.generation.engines import tiny


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


@pytest.fixture
def notes() -> list[Note]:
    return []


@pytest.fixture
def manager(notes: list[Note]) -> MemoryManager:
    return MemoryManager(Device("cpu"), tell=notes.append)


def spec(folder: Path, name: str = "first") -> CheckpointSpec:
    return CheckpointSpec(name, str(folder), "multimodal")


def draws(engine: Engine) -> bool:
    """Whether a first fragment comes."""
    with closing(engine.generate(GenerationParams("a cat", 32, 32, 7), CancelToken())) as drawing:  # type: ignore[type-var]
        return next(drawing) is not None


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
        assert first.size_bytes() == 0
        assert [name for name, _ in manager.resident] == ["second"]
    assert [note.kind for note in notes] == [LOADING, LOADED, PURGED, LOADING, LOADED]
    purge, load = notes[2], notes[4]
    assert purge.message == "Unloaded first: second is asked for"
    assert purge.detail["freed"] == purge.detail["before"] - purge.detail["after"]
    assert purge.detail["checkpoints"] == ["first"]
    assert load.detail["checkpoint"] == "second"
    for note in (purge, load):
        assert note.detail["seconds"] >= 0
        assert note.detail["before"] > 0


def test_what_is_in_use_never_moves(manager: MemoryManager, folder: Path) -> None:
    with manager.acquire(spec(folder)) as first:
        with pytest.raises(DeviceMemoryError, match="in use"), manager.acquire(spec(folder, "second")):
            pass
        assert manager.purge("a test") == 0
        assert draws(first), "it still draws"
    manager.purge("a test")
    assert manager.resident == ()


def test_with_more_room_the_longest_unused_goes_first(notes: list[Note], folder: Path) -> None:
    manager = MemoryManager(Device("cpu"), capacity=2, tell=notes.append)
    for name in ("a", "b", "a", "c"):
        with manager.acquire(spec(folder, name)):
            pass
    assert [name for name, _ in manager.resident] == ["a", "c"]


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


class NarrowDevice(Device):
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
        if isinstance(device, NarrowDevice) and device.failures:
            device.failures -= 1
            raise DeviceMemoryError("The cpu ran out of memory.")

    monkeypatch.setattr(MultimodalEngine, "load", sometimes)


@pytest.mark.usefixtures("narrow_loading")
def test_out_of_memory_is_purged_and_tried_once_more(notes: list[Note], folder: Path) -> None:
    device = NarrowDevice(failures=0)
    manager = MemoryManager(device, capacity=2, tell=notes.append)
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
    device = NarrowDevice(failures=2)
    manager = MemoryManager(device)
    with pytest.raises(DeviceMemoryError, match="does not fit") as caught, manager.acquire(spec(folder)):
        pass
    assert caught.value.hint
    assert manager.resident == ()
    assert device.purges
    with manager.acquire(spec(folder)) as engine:
        assert draws(engine)
