"""The heap of this process: free pages go back to the system, but for blocks that are about to be used again.

A fresh page has to be found, mapped and cleared, which takes longer than to fill it. So what was made of the weights
of a checkpoint that leaves waits on the shelf until the next one's are made, block by block: each is freed right
before one of its size is asked for, and the allocator hands out the same pages again.
"""

import ctypes
import resource
import sys
from dataclasses import dataclass, field

import torch

M_MMAP_THRESHOLD = -3  # mallopt(3)
LIMITED_BLOCK = 4 * 1024 * 1024  # bytes
SLACK = 64 * 1024  # that aligning a block may take


@dataclass(slots=True)
class _Shelf:
    """Blocks in the order of their addresses, so that what is freed one after the other is one place."""

    blocks: list[tuple[int, int, torch.Tensor]] = field(default_factory=list)  # address, bytes, holder
    ahead: int = 0  # bytes that were freed and not asked for yet


_shelf = _Shelf()


def shelved_bytes() -> int:
    """Held by nobody any more, but not free yet."""
    return sum(size for _, size, _ in _shelf.blocks)


def shelve(block: torch.Tensor, address: int, size: int) -> None:
    """Keep a block that nobody uses any more for who comes next."""
    _shelf.blocks.append((address, size, block))
    _shelf.blocks.sort(key=lambda one: one[0], reverse=True)


def free_for(size: int) -> None:
    """Free as much as will be asked for now."""
    while _shelf.blocks and _shelf.ahead < size + SLACK:
        _shelf.ahead += _shelf.blocks.pop()[1]
    _shelf.ahead = max(_shelf.ahead - size, 0)


def keep_shelved(most: int) -> None:
    """Give back to the system what is on the shelf beyond so many bytes."""
    left = shelved_bytes()
    if left <= most:
        return
    while left > most:
        left -= _shelf.blocks.pop(0)[1]
    trim()


def clear_shelf() -> None:
    """Nothing waits any more, and what was not asked for goes back to the system."""
    used, _shelf.ahead = bool(_shelf.blocks or _shelf.ahead), 0
    _shelf.blocks.clear()
    if used:
        trim()


def trim() -> None:
    """Give back what is free."""
    if sys.platform == "linux":
        give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if give_back is not None:
            give_back(0)


def heed_address_limit() -> None:
    """Where a limit is on what is mapped (`ulimit -v`), free blocks leave at once: a heap with holes would count."""
    if sys.platform == "linux" and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        choose = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
        if choose is not None:
            choose(M_MMAP_THRESHOLD, LIMITED_BLOCK)
