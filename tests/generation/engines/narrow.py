"""A device with memory of its own, of which every byte is accounted for: a stand-in for a card that is not here.

It calculates on the CPU. Weights get there by a copy, as onto a card; what drawing allocates is counted by watching
every operation; and whatever would not fit raises what a card's allocator raises.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from generation.engines.device import Device
from generation.engines.weights import Weights

PLENTY = 1 << 40
PIXELS = torch.uint8  # which are made to be handed to the host
DRAWING = ("drawing", "looking", "describing")  # how `memory_errors` is told that the device works


class NarrowDevice(Device):
    """`limit` bytes, none of them shared with the host."""

    def __init__(self, limit: int = PLENTY) -> None:
        super().__init__("cpu")
        self.limit = limit
        self.highest = 0
        self.copies = 0
        self.pinned = 0
        self.refused = 0
        self._held: dict[int, tuple[Any, int]] = {}  # what tells whether it is gone, and bytes
        self._most = 0  # bytes that may be held, those that have gone since the last look among them

    @property
    def unified(self) -> bool:
        return False

    def memory_total(self) -> int:
        return self.limit

    def memory_free(self) -> int:
        return self.limit - self.memory_used()

    def memory_used(self) -> int:
        self._held = {key: one for key, one in self._held.items() if not one[0].expired()}
        self._most = sum(size for _, size in self._held.values())
        return self._most

    @property
    def pins(self) -> bool:
        return True

    def _pinned_like(self, tensor: torch.Tensor) -> torch.Tensor:
        self.pinned += 1
        # memory of the host: not counted, as a mapped file is not
        return (
            torch.frombuffer(bytearray(max(tensor.nbytes, 1)), dtype=torch.uint8)[: tensor.nbytes]
            .view(tensor.dtype)
            .view(tensor.shape)
        )

    def confine(self, budget: int) -> None:
        self.limit = min(self.limit, budget)

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
        key, size, life = _about(tensor)
        if key in self._held and not self._held[key][0].expired():
            return
        self._held[key] = life, size
        self._most += size
        if self._most <= min(self.highest, self.limit):
            return
        used = self.memory_used()  # looked at closely, which takes time
        if used > self.limit:
            del self._held[key]
            self.refused += 1
            raise torch.OutOfMemoryError(f"Stand-in out of memory. Tried to allocate {size} bytes.")
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
            if isinstance(one, torch.Tensor) and one.nbytes and one.dtype is not PIXELS and id_of(one) not in given:
                self._device.count(one)
        return answer


class Packed:
    """Weights in an order of oneDNN's own have no storage that could be asked: they live as long as their tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = weakref.ref(tensor)

    def expired(self) -> bool:
        return self._tensor() is None


def id_of(tensor: torch.Tensor) -> int:
    """Of its storage."""
    return id(tensor) if tensor.is_mkldnn else int(tensor.untyped_storage()._cdata)


def _about(tensor: torch.Tensor) -> tuple[int, int, Any]:
    """Its key, its bytes, and what tells whether it is gone."""
    if tensor.is_mkldnn:
        return id_of(tensor), tensor.numel() * tensor.itemsize, Packed(tensor)
    storage = tensor.untyped_storage()
    return id_of(tensor), storage.nbytes(), StorageWeakRef(storage)


def watch(monkeypatch: pytest.MonkeyPatch, device: NarrowDevice) -> None:
    """Also where nobody says that the device works: weights that are woken."""

    wake = Weights.wake

    def watched_wake(weights: Weights) -> None:
        with Watching(device):
            wake(weights)

    monkeypatch.setattr(Weights, "wake", watched_wake)
