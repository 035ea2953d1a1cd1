"""Checkpoints taking turns must not make the room grow: 50 swaps over three families."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import generation
from generation.engines.client import RoomClient
from generation.engines.fragments import LOADED, Note
from generation.engines.inspection import inspect_checkpoint
from generation.engines.limits import Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment
from tests.generation.engines import tiny
from tests.generation.engines.rooms import SETTINGS
from tests.generation.engines.tiny_emu3 import save_emu3

pytestmark = pytest.mark.processes

STARTERS = Path(generation.__file__).parent / "starter"
MEBIBYTE = 1024 * 1024
SWAPS = 50
FLAT = 0.03


def starter(folder: str, spare: Path) -> CheckpointSpec:
    """The starter; a tiny stand-in as long as its weights are not in the tree."""
    path = STARTERS / folder
    if not list(path.rglob("*.safetensors")):
        path = tiny.save_mosaic(spare)
    return CheckpointSpec(f"starter-{folder}", str(path), inspect_checkpoint(path).family)


def begin(room: RoomClient, spec: CheckpointSpec) -> tuple[int, str]:
    """Load and draw up to the first fragment; the memory in use then, and where the checkpoint was brought from.

    Many steps, so that it is always cut short: a drawing that just ended keeps its activations for the next one.
    """
    width, height = inspect_checkpoint(spec.path).sizes[0]
    came_from = ""
    with closing(room.generate(spec, GenerationParams("a cat on white", width, height, 7, steps=150))) as replies:  # type: ignore[type-var]
        for reply in replies:
            if isinstance(reply, Note) and reply.kind == LOADED:
                came_from = reply.detail["tier"]
            if isinstance(reply, EncodedFragment):
                break
    status = room.status()
    assert status is not None
    return psutil.Process(status.pid).memory_info().rss, came_from


@pytest.mark.parametrize(("warm", "swaps"), [(0, SWAPS), (1, 15)], ids=["laid aside and woken", "forgotten, read anew"])
def test_fifty_swaps_over_three_families_leave_memory_flat(
    warm: int, swaps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One checkpoint on the device at a time; with a byte of host memory none of them can wait there."""
    three = (
        starter("diffusion", tmp_path / "a"),
        starter("multimodal", tmp_path / "b"),
        CheckpointSpec("tiny-emu3", str(save_emu3(tmp_path / "emu3")), "multimodal"),
    )
    used: dict[str, list[int]] = {spec.name: [] for spec in three}
    with RoomClient(replace(SETTINGS, limits=Limits(most=1, warm=warm))) as room:
        for swap in range(swaps):
            spec = three[swap % len(three)]
            size, came_from = begin(room, spec)
            used[spec.name].append(size)
            assert came_from == ("warm" if not warm and swap >= len(three) else "files")
        status = room.status()
        assert status is not None
        assert len(status.resident) == 1
    # the code that a checkpoint needs is read on its first visit, so that one is not counted
    grown = {name: max(later) / back - 1 for name, (_, back, *later) in used.items()}
    with capsys.disabled():
        for name, row in used.items():
            told = " ".join(str(size // MEBIBYTE) for size in row)
            print(f"\n{name}, {grown[name]:+.1%}: {told} MiB", end="")  # noqa: T201
    assert max(grown.values()) <= FLAT
