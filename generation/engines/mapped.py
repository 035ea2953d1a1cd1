"""Weights that are mapped files: their pages can be given back and fetched again without reading a file by hand.

safetensors are mapped, not read. A page of such a mapping that nobody wrote to is a copy of the file, so giving it
back loses nothing; the system keeps it in its page cache as long as it has room. Linux only: elsewhere nothing counts
as mapped, and the system reclaims such pages by itself when it needs them (not checked).
"""

import ctypes
import mmap
import sys
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path

import torch

MAPS = Path("/proc/self/maps")
SUFFIX = ".safetensors"
DONTNEED = 4  # madvise(2)
POPULATE_READ = 22  # since Linux 5.14; older ones refuse, and pages then come one by one, as they are touched
NEAR = 4096  # bytes between two tensors that are still told to the system in one call

Span = tuple[int, int]


def mapped_spans() -> list[Span]:
    """Where weight files are mapped into this process, in order."""
    if sys.platform != "linux" or not MAPS.exists():
        return []
    spans = []
    for line in MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.endswith(SUFFIX):
            first, _, last = line.split(maxsplit=1)[0].partition("-")
            spans.append((int(first, 16), int(last, 16)))
    return sorted(spans)


def is_mapped(tensor: torch.Tensor, spans: list[Span]) -> bool:
    """Whether all of it lies in one of these spans."""
    if tensor.device.type != "cpu" or not tensor.nbytes or not tensor.is_contiguous():
        return False
    start = tensor.data_ptr()
    place = bisect_right(spans, (start, sys.maxsize)) - 1
    return place >= 0 and start + tensor.nbytes <= spans[place][1]


def release(tensors: Iterable[torch.Tensor]) -> None:
    """Give the pages of these mapped tensors back. They must be as the file has them: changes would be lost."""
    _advise(tensors, DONTNEED)


def populate(tensors: Iterable[torch.Tensor]) -> None:
    """Fetch the pages of these mapped tensors at once, so that what follows is not slowed down by fetching."""
    _advise(tensors, POPULATE_READ)


def _advise(tensors: Iterable[torch.Tensor], advice: int) -> None:
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    for first, last in _together(sorted((one.data_ptr(), one.data_ptr() + one.nbytes) for one in tensors)):
        # inwards: a page that is shared with a neighbour is left alone
        start, end = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last // mmap.PAGESIZE * mmap.PAGESIZE
        if start < end:
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)


def _together(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for first, last in spans:
        if joined and first - joined[-1][1] <= NEAR:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return joined
