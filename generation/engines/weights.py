"""The weights of an engine: laid aside and taken back, all or part by part, without reading the checkpoint anew.

Each tensor has a master, the copy that came from the file and is never touched: mapped where its numbers are the
file's own. What works is the master itself where that can be (on the CPU, with the same numbers), else a copy on the
device. So laying aside copies nothing: the copy is dropped, or the mapped pages are given back.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

import torch

from generation.engines import heap
from generation.engines.mapped import is_mapped, mapped_spans, populate, release
from generation.engines.plan import MemoryRung
from generation.engines.products import Product
from generation.engines.turns import Turns, component_groups, layer_groups

if TYPE_CHECKING:
    from generation.engines.device import Device

SMALL_VECTOR = 64 * 1024  # as SMALL, for what has one dimension only: norms are read by hand here and there
SMALL = 256  # bytes up to which a tensor is not worth moving back and forth
Parts = Mapping[str, Sequence[torch.nn.Module]]


Made = TypeVar("Made", bound=Product)


def nothing() -> None:
    """Nothing is made of the weights."""


@dataclass(slots=True, eq=False)
class Weight:
    """One tensor of a network; `tensor` is the same object for as long as the network lives."""

    tensor: torch.Tensor
    master: torch.Tensor
    mapped: bool
    dtype: torch.dtype
    awake: bool = False
    owners: list[tuple[torch.nn.Module, str]] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        """Whether a network still has it: what an engine makes of weights may take their place."""
        return any(owner._parameters.get(name, owner._buffers.get(name)) is self.tensor for owner, name in self.owners)

    def restore(self) -> None:
        """Give it back to its networks."""
        for owner, name in self.owners:
            (owner._parameters if name in owner._parameters else owner._buffers)[name] = self.tensor  # type: ignore[assignment]

    @property
    def is_master(self) -> bool:
        """Whether what works, or would work, is the master itself."""
        return self.tensor.device == self.master.device and self.tensor.data_ptr() == self.master.data_ptr()

    @property
    def device_bytes(self) -> int:
        """Held on the device now."""
        if self.awake:
            return self.tensor.nbytes
        return self.master.nbytes if self.is_master and not self.mapped else 0

    @property
    def warm_bytes(self) -> int:
        """Waiting in host memory, as a copy or as a file that is mapped."""
        return 0 if self.is_master and (self.awake or not self.mapped) else self.master.nbytes


@dataclass(slots=True, eq=False)
class Weights:
    """Those of one engine. `parts` are its networks by name, which take turns on the sparing rungs.

    `make` is called when they are on the device, for what an engine makes of them and uses in their stead; `unmake`
    before they are laid aside. Those of `late` are left to `make`, which fetches them bit by bit (see `fetching`).
    """

    device: "Device"
    parts: Parts
    all: list[Weight]
    _of: dict[int, Weight]  # by the id of the tensor object
    _turns: Turns | None = field(default=None)
    _rung: MemoryRung = "whole"
    make: Callable[[], None] = field(default=nothing)
    unmake: Callable[[], None] = field(default=nothing)
    late: Sequence[torch.nn.Module] = ()
    pinned_bytes: int = 0
    _made: list[Product] = field(default_factory=list)
    _counted: tuple[int, int] | None = None
    _reused: int = 0  # bytes that will be made again, of what others left

    @classmethod
    def of(cls, device: "Device", parts: Parts, dtypes: Mapping[str, torch.dtype]) -> Self:
        """All laid aside. Call right after reading, while everything is as the files have it, and on the CPU.

        Numbers narrower than those of `dtypes` are widened on their way to the device; wider ones stay, because the
        library keeps some parts wide on purpose.
        """
        spans, found = mapped_spans(), dict[int, Weight]()
        for dtype, owner, name, tensor in _tensors(parts, dtypes):
            if id(tensor) in found:
                found[id(tensor)].owners.append((owner, name))
                continue
            master, wanted = tensor.detach(), tensor.dtype
            if master.is_floating_point() and master.itemsize < dtype.itemsize:
                wanted = dtype
            if master.nbytes <= (SMALL_VECTOR if master.dim() < 2 else SMALL):
                tensor.data = device.place(master, wanted)
                continue
            found[id(tensor)] = Weight(tensor, master, is_mapped(master, spans), wanted, owners=[(owner, name)])
        weights = cls(device, parts, list(found.values()), found)
        for weight in weights.all:
            if not device.works_on(weight.master, weight.dtype):
                _empty(weight, device)
        return weights

    @property
    def device_bytes(self) -> int:
        """Held on the device now."""
        return self._count()[0]

    @property
    def warm_bytes(self) -> int:
        """Waiting in host memory."""
        return self._count()[1]

    def recount(self) -> None:
        """Somebody worked with them, and may have widened some."""
        self._counted = None

    def _count(self) -> tuple[int, int]:
        """Bytes on the device and in host memory: asked for far more often than they change."""
        if self._counted is None:
            device = sum(weight.device_bytes for weight in self.all)
            self._counted = device, sum(weight.warm_bytes for weight in self.all)
        return self._counted

    @property
    def reused_bytes(self) -> int:
        """That waking will take of what others left (heap.py)."""
        return 0 if self._turns else self._reused

    @property
    def taken_bytes(self) -> int:
        """Of those that live on in what was made of them."""
        return sum(weight.master.numel() * weight.dtype.itemsize for weight in self.all if not weight.is_needed)

    @property
    def bytes(self) -> int:
        """What all of them take on the device at once."""
        return sum(weight.master.numel() * weight.dtype.itemsize for weight in self.all)

    @property
    def largest_turn(self) -> int:
        """The most that is on the device at once by the present arrangement."""
        if self._turns is None:
            return self.bytes
        return max((sum(one.master.numel() * one.dtype.itemsize for one in self._within(group.modules))
                    for group in self._turns.groups), default=0)  # fmt: skip

    def arrange(self, rung: MemoryRung) -> None:
        """Who is on the device when, from now on. A change lays everything aside: wake it before it works."""
        wanted: MemoryRung = rung if rung in ("components", "sequential") else "whole"
        if wanted == self._rung:
            return
        self._rung = wanted
        self.sleep()
        if self._turns is not None:
            self._turns.end()
            self._turns = None
        if rung in ("components", "sequential"):
            groups = component_groups(self.parts) if rung == "components" else layer_groups(self.parts)
            self._turns = Turns(groups, self._wake_these, self._sleep_these)

    def wake(self) -> None:
        """Everything on the device, or what is arranged. May run out of memory, and then some of it is there."""
        heap.keep_shelved(self.reused_bytes)
        if self._turns is None:
            late = {id(weight) for weight in self._within(_below(self.late))}
            self._wake([weight for weight in self.all if weight.is_needed and id(weight) not in late])
        self.make()
        if self._turns is None:
            self._wake([weight for weight in self.all if weight.is_needed])
        self._sleep([weight for weight in self.all if not weight.is_needed])  # taken up by what was made
        heap.clear_shelf()

    def fetching(
        self, make: Callable[[Sequence[torch.nn.Linear]], Made]
    ) -> Callable[[Sequence[torch.nn.Linear]], Made]:
        """The same, but each time the weights of the layers are fetched before, and let go after.

        So what is made of many layers never stands beside all that it is made of.
        """

        def made(layers: Sequence[torch.nn.Linear]) -> Made:
            taken = self._within(layers)
            self._wake(taken)
            result = make(layers)
            self._sleep([weight for weight in taken if not weight.is_needed])
            self._made.append(result)
            return result

        return made

    def sleep(self) -> None:
        """Nothing on the device."""
        before = heap.shelved_bytes()
        self.unmake()
        for made in self._made:
            made.retire()
        self._reused = heap.shelved_bytes() - before
        self._made.clear()
        for weight in self.all:
            if not weight.is_needed:
                weight.restore()
        self._sleep(self.all)
        if self._turns is not None:
            self._turns.forget()

    def drop(self) -> None:
        """No reference to any tensor is kept."""
        self.device.pinnable += self.pinned_bytes
        self.pinned_bytes = 0
        if self._turns is not None:
            self._turns.end()
        self._turns, self.parts, self.make, self.unmake, self.late = None, {}, nothing, nothing, ()
        self.all.clear()
        self.recount()
        self._of.clear()
        self._made.clear()

    def _within(self, modules: Iterable[torch.nn.Module]) -> list[Weight]:
        tensors = (t for module in modules for t in [*module._parameters.values(), *module._buffers.values()])
        return list({id(tensor): self._of[id(tensor)] for tensor in tensors if id(tensor) in self._of}.values())

    def _wake_these(self, modules: Iterable[torch.nn.Module]) -> None:
        self._wake(self._within(modules))

    def _sleep_these(self, modules: Iterable[torch.nn.Module]) -> None:
        self._sleep(self._within(modules))

    def _wake(self, weights: Iterable[Weight]) -> None:
        """Copies are made one by one, and the pages that each was made from are given back at once."""
        waiting = [weight for weight in weights if not weight.awake]
        self.recount()
        with torch.inference_mode(False), torch.no_grad():
            for weight in waiting:
                if not weight.is_master:
                    self._pin(weight)
                    weight.tensor.data = self.device.place(weight.master, weight.dtype)
                    if weight.mapped:
                        release([weight.master])
                weight.awake = True
        populate(weight.master for weight in waiting if weight.mapped and weight.is_master)

    def _pin(self, weight: Weight) -> None:
        """Once, as far as there is room: a mapped master is copied to where the device fetches it from faster."""
        room = self.device.pinnable
        copy = self.device.pin(weight.master) if weight.mapped else None
        if copy is not None:
            release([weight.master])
            weight.master, weight.mapped = copy, False
            self.pinned_bytes += room - self.device.pinnable

    def _sleep(self, weights: Iterable[Weight]) -> None:
        leaving = [weight for weight in weights if weight.awake]
        self.recount()
        with torch.inference_mode(False), torch.no_grad():
            for weight in leaving:
                weight.awake = False
                if not weight.is_master:
                    weight.dtype = weight.tensor.dtype  # somebody may have widened it meanwhile
                    _empty(weight, self.device)
        release(weight.master for weight in leaving if weight.mapped and weight.is_master)


def _below(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Module]:
    return [below for module in modules for below in module.modules()]


def _tensors(
    parts: Parts, dtypes: Mapping[str, torch.dtype]
) -> Iterator[tuple[torch.dtype, torch.nn.Module, str, torch.Tensor]]:
    """Every tensor with its place, and the numbers that its part is to have."""
    for part, modules in parts.items():
        for owner in (below for module in modules for below in module.modules()):
            for name, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
                if tensor is not None:
                    yield dtypes[part], owner, name, tensor


def _empty(weight: Weight, device: "Device") -> None:
    """One number for all. Whoever reads it without waking it gets what is no number, and a check finds that."""
    nothing = math.nan if weight.dtype.is_floating_point else 0
    one = torch.full((1,) * weight.master.dim(), nothing, dtype=weight.dtype, device=device.torch)
    weight.tensor.data = one.expand(weight.master.shape)
