"""Two checkpoints taking turns must not make the room grow."""

from pathlib import Path

import pytest

import generation
from generation.engines.client import RoomClient
from generation.engines.inspection import inspect_checkpoint
from generation.engines.memory import LOAD, PURGE
from generation.engines.params import CheckpointSpec
from tests.generation.engines.rooms import SETTINGS, draw, wish

pytestmark = pytest.mark.processes

STARTERS = Path(generation.__file__).parent / "starter"
MEBIBYTE = 1024 * 1024
ROUNDS = 20


def starter(folder: str) -> CheckpointSpec:
    path = STARTERS / folder
    return CheckpointSpec(f"starter-{folder}", str(path), inspect_checkpoint(path).family)


def test_a_b_a_b_leaves_memory_flat(capsys: pytest.CaptureFixture[str]) -> None:
    pair = starter("diffusion"), starter("multimodal")
    used: dict[str, list[int]] = {spec.name: [] for spec in pair}
    with RoomClient(SETTINGS) as room:
        for _ in range(ROUNDS):
            for spec in pair:
                drawn = draw(room, spec, wish(steps=1, edge=128))
                assert LOAD in [note.kind for note in drawn.notes]
                status = room.status()
                assert status is not None
                used[spec.name].append(status.memory_used)
    with capsys.disabled():
        for name, row in used.items():
            print(f"\n{name}: {' '.join(str(size // MEBIBYTE) for size in row)} MiB", end="")  # noqa: T201
    for name, (_, back, *later) in used.items():
        assert max(later) <= back * 1.03, f"{name} grew from {back} to {max(later)} bytes"
    assert PURGE in [note.kind for note in drawn.notes]
