"""Two checkpoints taking turns must not make the room grow."""

from contextlib import closing
from pathlib import Path

import pytest

import generation
from generation.engines.client import RoomClient
from generation.engines.fragments import LOADED, Note
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment
from tests.generation.engines import tiny
from tests.generation.engines.rooms import SETTINGS

pytestmark = pytest.mark.processes

STARTERS = Path(generation.__file__).parent / "starter"
MEBIBYTE = 1024 * 1024
ROUNDS = 20


def starter(folder: str, spare: Path) -> CheckpointSpec:
    """The starter; a tiny stand-in as long as its weights are not in the tree."""
    path = STARTERS / folder
    if not list(path.rglob("*.safetensors")):
        path = tiny.save_mosaic(spare)
    return CheckpointSpec(f"starter-{folder}", str(path), inspect_checkpoint(path).family)


def begin(room: RoomClient, spec: CheckpointSpec) -> int:
    """Load and draw up to the first fragment; the memory in use then.

    Many steps, so that it is always cut short: a drawing that just ended keeps its activations for the next one.
    """
    width, height = inspect_checkpoint(spec.path).sizes[0]
    loaded = False
    with closing(room.generate(spec, GenerationParams("a cat on white", width, height, 7, steps=150))) as replies:  # type: ignore[type-var]
        for reply in replies:
            loaded = loaded or (isinstance(reply, Note) and reply.kind == LOADED)
            if isinstance(reply, EncodedFragment):
                break
    status = room.status()
    assert loaded
    assert status is not None
    return status.memory_used


def test_a_b_a_b_leaves_memory_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = starter("diffusion", tmp_path), starter("multimodal", tmp_path)
    used: dict[str, list[int]] = {spec.name: [] for spec in pair}
    with RoomClient(SETTINGS) as room:
        for _ in range(ROUNDS):
            for spec in pair:
                used[spec.name].append(begin(room, spec))
    with capsys.disabled():
        for name, row in used.items():
            print(f"\n{name}: {' '.join(str(size // MEBIBYTE) for size in row)} MiB", end="")  # noqa: T201
    for name, (_, back, *later) in used.items():
        assert max(later) <= back * 1.03, f"{name} grew from {back} to {max(later)} bytes"
