"""One device behind one small class: cpu, cuda or mps. Chosen by what works; nothing is probed at import.

The cuda and mps paths follow PyTorch's documentation and could not be run where they were written (no such device).
"""

import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Self, cast, get_args

import psutil
import torch

from generation.engines import heap, metal
from generation.engines.errors import DeviceError, DeviceMemoryError
from generation.engines.plan import MemoryRung

Kind = Literal["cpu", "cuda", "mps"]
PREFERRED: tuple[Kind, ...] = ("cuda", "mps", "cpu")
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "std::bad_alloc",
)
ONEDNN = ("could not create a primitive", "could not create a memory object")  # its words when an allocation failed


def works(kind: Kind) -> bool:
    """Whether a small allocation and a small product of matrices succeed there."""
    try:
        square = torch.ones(8, 8, device=kind)
        return float((square @ square).sum()) == 512.0
    except (RuntimeError, AssertionError, NotImplementedError):
        return False


class Device:
    """Where tensors live, and how much room there is."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.torch = torch.device(kind)
        if kind == "mps":
            metal.prepare()
        self.pinnable = 0  # bytes of host memory that may still be pinned, as the memory manager allows
        self._seen = 0  # highest memory_used() since reset_peak, for mps, which keeps no peak itself

    @classmethod
    def choose(cls, wish: str = "auto") -> Self:
        """The first of cuda, mps, cpu that works, or exactly the one wished for. Raises DeviceError."""
        if wish == "auto":
            return cls(next(kind for kind in PREFERRED if kind == "cpu" or works(kind)))
        if wish not in get_args(Kind):
            raise DeviceError(f"There is no device '{wish}'.", hint="Use auto, cpu, cuda or mps.")
        kind = cast(Kind, wish)
        if not works(kind):
            raise DeviceError(f"The device '{kind}' does not work here.", hint="Use auto to take what works.")
        return cls(kind)

    def __repr__(self) -> str:
        return f"Device({self.kind})"

    def memory_used(self) -> int:
        """Bytes held now: by this process in RAM (cpu), or from the device's allocator, caches included."""
        if self.kind == "cuda":
            used = torch.cuda.memory_reserved()
        elif self.kind == "mps":
            used = metal.memory_used()
        else:
            used = psutil.Process().memory_info().rss - heap.shelved_bytes()
        self._seen = max(self._seen, used)
        return used

    def memory_total(self) -> int:
        """Bytes there are: of the card, of Metal's working set, or of RAM within the limits set to this process."""
        if self.kind == "cuda":
            return int(torch.cuda.mem_get_info()[1])
        if self.kind == "mps":
            return metal.memory_total()
        return min([psutil.virtual_memory().total, *_group_limits(), *_address_limits()])

    def peak_memory(self) -> int:
        """Highest memory in use since reset_peak (mps: the highest that memory_used has seen)."""
        if self.kind == "cuda":
            return int(torch.cuda.max_memory_reserved())
        if self.kind == "mps":
            return max(self._seen, self.memory_used())
        return _peak_resident()

    def reset_peak(self) -> None:
        """Forget the peak. Where the system cannot (no Linux), the peak stays that of the whole process."""
        self._seen = 0
        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif self.kind == "cpu" and CLEAR_REFS.exists():
            with suppress(OSError):  # some containers show the file and forbid writing it
                CLEAR_REFS.write_text("5", encoding="ascii")

    @property
    def unified(self) -> bool:
        """Whether host memory and the device's are the same RAM, so that a copy in each would be one too many."""
        return self.kind != "cuda"

    def memory_free(self) -> int:
        """Bytes that could be had now, other processes considered; caches of the allocator count as free."""
        if self.kind == "cuda":
            return int(torch.cuda.mem_get_info()[0]) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        if self.kind == "mps":
            return max(self.memory_total() - int(torch.mps.current_allocated_memory()), 0)
        own = psutil.Process().memory_info()
        limits = [*(limit - own.rss for limit in _group_limits()), *(limit - own.vms for limit in _address_limits())]
        return max(min([psutil.virtual_memory().available, *limits]), 0)

    def confine(self, budget: int) -> None:
        """Have the allocator refuse what goes beyond this many bytes; a CPU has none that could."""
        part = min(budget / max(self.memory_total(), 1), 1.0)
        if self.kind == "cuda":
            torch.cuda.set_per_process_memory_fraction(part)
        elif self.kind == "mps":
            metal.confine(part)

    def works_on(self, tensor: torch.Tensor, dtype: torch.dtype) -> bool:
        """Whether a tensor in host memory can be calculated with as it is, without a copy of it."""
        return tensor.device == self.torch and tensor.dtype is dtype

    def place(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A tensor in host memory brought here in these numbers; itself when it works as it is."""
        if self.works_on(tensor, dtype):
            return tensor
        there = tensor.to(self.torch, non_blocking=self.kind == "cuda")  # of use when pinned, harmless when not
        return there.to(dtype)  # one after the other: both in one call leaked on Metal

    @property
    def pins(self) -> bool:
        """Whether there is pinned host memory: pages that never move, from which a card fetches by itself."""
        return self.kind == "cuda"

    def pin(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """A copy in pinned host memory; None where there is none, or not enough."""
        size = pinned_bytes(tensor)
        if not self.pins or size > self.pinnable:
            return None
        try:
            copy = self._pinned_like(tensor)
        except RuntimeError:  # the system locks no more pages for us
            self.pinnable = 0
            return None
        self.pinnable -= size
        return copy.copy_(tensor)

    def _pinned_like(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(tensor, pin_memory=True)

    def synchronize(self) -> None:
        """Wait until the device has done everything it was told."""
        if self.kind == "cuda":
            torch.cuda.synchronize()
        elif self.kind == "mps":
            torch.mps.synchronize()

    def purge(self) -> None:
        """Give back what nobody refers to any more: garbage, the allocator's cache, the heap's free pages."""
        gc.unfreeze()
        heap.clear_shelf()
        self.tidy()

    def tidy(self) -> None:
        """The same, but garbage is looked for only among what came since the last time, and in no time.

        Libraries are 400,000 objects, which take a third of a second to look through.
        """
        if self.kind == "mps":
            metal.purge()
        else:
            gc.collect()
            self.synchronize()
            if self.kind == "cuda":
                torch.cuda.empty_cache()
                getattr(torch._C, "_host_emptyCache", lambda: None)()  # pinned pages nobody holds
        gc.freeze()
        self.trim()

    def trim(self) -> None:
        """Give back what is merely free in the heap of this process."""
        heap.trim()

    def starting_rung(self, width: int, height: int) -> MemoryRung:
        """The most generous rung that is safe to begin with for a picture of this size."""
        return "sliced" if self.kind == "mps" and metal.must_slice(width, height) else "whole"

    def generator(self, seed: int) -> torch.Generator:
        """Always on the CPU, so that a seed means the same noise on every device."""
        return torch.Generator("cpu").manual_seed(seed)

    @contextmanager
    def memory_errors(self, doing: str) -> Iterator[None]:
        """Turn the many ways to run out of memory into DeviceMemoryError, without the traceback that keeps tensors."""
        failure = None
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None
            failure = f"The {self.kind} ran out of memory while {doing}."
        if failure:
            raise DeviceMemoryError(failure, hint="Use a smaller size or a smaller checkpoint, or free the device.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is one of the many ways to say it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return text in ONEDNN or any(phrase in text for phrase in OUT_OF_MEMORY)


def pinned_bytes(tensor: torch.Tensor) -> int:
    """That torch takes for a pinned copy: the next power of two."""
    return 1 << max(tensor.nbytes - 1, 0).bit_length()


def _peak_resident() -> int:
    if STATUS.exists():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _group_limits() -> list[int]:
    """Limits of the control groups (version 2 and 1) this process lives in; none outside a container."""
    places = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    membership = Path("/proc/self/cgroup")
    if membership.exists():
        for line in membership.read_text(encoding="utf-8").splitlines():
            path = line.rpartition(":")[2].strip("/")
            places.append(Path("/sys/fs/cgroup") / path / "memory.max")
    texts = [place.read_text(encoding="ascii").strip() for place in places if place.is_file()]
    return [int(text) for text in texts if text.isdigit()]


def _address_limits() -> list[int]:
    """What `ulimit -v` allows, which counts all that is mapped; none where it is not set."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [limit]
