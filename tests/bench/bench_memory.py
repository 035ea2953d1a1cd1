"""Two checkpoints of over a gigabyte taking turns on a CPU that has room for one: how long it takes, how much it holds.

Weights in float32 as the files have them are used where they are mapped: waking is mapping. Weights that are packed for
their products are copied. So each kind is held against what it does, of the same bytes of the same files, which lie in
the system's page cache. Takes about two minutes, 4 GB of memory and 2.5 GB of disk.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from safetensors import safe_open

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.fragments import Step
from generation.engines.limits import MEBIBYTE, Limits
from generation.engines.mapped import populate, release
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from tests.bench import large
from tests.bench.rows import Row

TIMED, SWAPS = 16, 50  # the timed swaps come after the others
SETTLED = 5  # swaps after which memory must be flat
ROOM = 1.6  # of a checkpoint's bytes, for it and its drawing: never for two
GIGABYTE = 1e9


class Pair:
    """Two checkpoints of one kind, in one memory manager."""

    def __init__(self, folder: Path, family: str, edge: int, save: Callable[[Path, int], Path]) -> None:
        self.specs = [CheckpointSpec(name, str(save(folder / name, seed)), family) for seed, name in enumerate("AB")]
        self.files = [file for spec in self.specs for file in Path(spec.path).rglob("*.safetensors")]
        self.bytes = sum(file.stat().st_size for file in self.files) // len(self.specs)
        self.params = GenerationParams("a cat", edge, edge, 7, steps=1)
        self.device = Device("cpu")
        self.device.purge()  # what saving them took
        before = self.device.memory_used()
        self.memory = MemoryManager(self.device, limits=Limits(budget=before + int(ROOM * self.bytes)))
        self.peak = 0

    def swap(self, number: int) -> float:
        """Seconds until the other one can draw; then it draws a little."""
        began = time.perf_counter()
        with self.memory.acquire(self.specs[number % 2]) as engine:
            took = time.perf_counter() - began
            self.draw(engine)
        self.peak = max(self.peak, self.device.peak_memory())
        return took

    def draw(self, engine: Engine) -> None:
        """A picture of one step, or a few codes: every weight is read."""
        with closing(engine.generate(self.params, CancelToken())) as items:  # type: ignore[type-var]
            steps = (item for item in items if isinstance(item, Step))
            list(islice(steps, 3))

    def rounds(self, *, copies: bool) -> tuple[list[float], list[float]]:
        """Seconds of swaps and, each right after one, of a plain way to have one checkpoint's bytes again.

        Neither may use memory that is there already: what left was given back to the system.
        """
        half = [file for file in self.files if file.is_relative_to(self.specs[0].path)]
        swaps, plain = [], []
        for number in range(TIMED):
            swaps.append(self.swap(number))
            tensors = mapped(half)
            release(tensors)
            self.device.trim()
            plain.append(timed(partial(copy, tensors) if copies else lambda: release(mapped(half))))
            release(tensors)
        return swaps, plain


def copy(tensors: list[torch.Tensor]) -> object:
    """Their pages are fetched as they are read."""
    return [tensor.clone() for tensor in tensors]


def mapped(files: Iterable[Path]) -> list[torch.Tensor]:
    """All tensors of these files, their pages fetched."""
    opened = [safe_open(file, "pt") for file in files]
    tensors = [one.get_tensor(name) for one in opened for name in one.keys()]  # noqa: SIM118 it is no dictionary
    populate(tensors)
    return tensors


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pair(family: str, edge: int, save: Callable[[Path, int], Path], *, copies: bool) -> list[Row]:
    """The rows of one kind."""
    with tempfile.TemporaryDirectory() as folder:
        two = Pair(Path(folder), family, edge, save)
        used = []
        for number in range(SWAPS):
            two.swap(number)
            two.device.trim()  # as a room does that rests
            used.append(two.device.memory_used())
        swaps, plain = two.rounds(copies=copies)
        budget = two.memory.ledger.budget
    doing = "copying" if copies else "mapping"
    ratio = statistics.median(swap / other for swap, other in zip(swaps, plain, strict=True))
    settled = used[SETTLED::2], used[SETTLED + 1 :: 2]  # those of A and of B
    grown = max(max(row) / row[0] for row in settled) - 1
    size = f"{two.bytes / GIGABYTE:.2f} GB each"
    remark = f"{statistics.median(swaps):.3f} s; {doing} the files' bytes {statistics.median(plain):.3f} s"
    return [
        Row(f"warm swap, {family}, {size}: time over {doing} its bytes", ratio, 1.2, "most", "x", remark),
        Row(f"warm swap, {family}: peak of the budget", 100 * two.peak / budget, 100, "most", "%",
            f"{two.peak / MEBIBYTE:.0f} of {budget / MEBIBYTE:.0f} MiB, the whole process"),
        Row(f"warm swap, {family}: growth over {SWAPS} swaps", 100 * grown, 3, "most", "%",
            f"resident memory, from swap {SETTLED} on"),
    ]  # fmt: skip


def rows() -> list[Row]:
    """Figures and bars."""
    torch.set_num_threads(2)
    return [
        *pair("diffusion", 64, large.save_diffusion, copies=False),
        *pair("multimodal", 16, large.save_janus, copies=True),
    ]
