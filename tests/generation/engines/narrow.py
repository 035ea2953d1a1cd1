"""A device with memory of its own, of which every byte is accounted for: a stand-in for a card that is not here.

It calculates on the CPU. Weights get there by a copy, as onto a card; what drawing allocates is counted by watching
every operation; and whatever would not fit raises what a card's allocator raises.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from generation.engines import diffusion
from generation.engines.device import Device

PLENTY = 1 << 40
DRAWING = ("drawing", "looking", "describing")  # how `memory_errors` is told that the device works


class NarrowDevice(Device):
    """`limit` bytes, none of them shared with the host."""

    def __init__(self, limit: int = PLENTY) -> None:
        super().__init__("cpu")
        self.limit = limit
        self.highest = 0
        self.copies = 0
        self.refused = 0
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def unified(self) -> bool:
        return False

    def memory_total(self) -> int:
        return self.limit

    def memory_free(self) -> int:
        return self.limit - self.memory_used()

    def memory_used(self) -> int:
        self._held = {key: one for key, one in self._held.items() if not one[0].expired()}
        return sum(size for _, size in self._held.values())

    def peak_memory(self) -> int:
        return self.highest

    def reset_peak(self) -> None:
        self.highest = self.memory_used()

    def works_on(self, tensor: torch.Tensor, dtype: torch.dtype) -> bool:
        return False

    def place(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        copy = tensor.to(dtype, copy=True)
        self.copies += 1
        self.count(copy)
        return copy

    def count(self, tensor: torch.Tensor) -> None:
        """This storage is on the device, if it fits. Raises what a card's allocator raises."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._held and not self._held[storage._cdata][0].expired():
            return
        used = self.memory_used() + storage.nbytes()
        if used > self.limit:
            self.refused += 1
            raise torch.OutOfMemoryError(f"Stand-in out of memory. Tried to allocate {storage.nbytes()} bytes.")
        self._held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.highest = max(self.highest, used)

    @contextmanager
    def memory_errors(self, doing: str) -> Iterator[None]:
        with super().memory_errors(doing):
            if doing.startswith(DRAWING):
                with Watching(self):
                    yield
            else:
                yield


class Watching(TorchDispatchMode):
    """Counts what every operation allocates."""

    def __init__(self, device: NarrowDevice) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id_of(one) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        answer = function(*args, **(kwargs or {}))
        for one in tree_leaves(answer):
            if isinstance(one, torch.Tensor) and one.nbytes and id_of(one) not in given:
                self._device.count(one)
        return answer


def id_of(tensor: torch.Tensor) -> int:
    """Of its storage."""
    return int(tensor.untyped_storage()._cdata)


def watch_threads(monkeypatch: pytest.MonkeyPatch, device: NarrowDevice) -> None:
    """Pipelines work in a thread of their own, where nobody watches yet."""
    aside = diffusion.iterate_aside

    def watched(work: Any) -> Any:
        def watched_work(emit: Any) -> None:
            with Watching(device):
                work(emit)

        return aside(watched_work)

    monkeypatch.setattr(diffusion, "iterate_aside", watched)
