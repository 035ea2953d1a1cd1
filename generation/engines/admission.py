"""Whether a drawing fits into what a device gives, and what to say when not: before anything is queued or loaded.

No torch: the portal asks when a wish comes in, the room asks again before it loads.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from generation.engines.footprint import GIGABYTE, Footprint, first_plan
from generation.engines.params import MIN_EDGE, Capability
from generation.engines.plan import Plan

MEGABYTE = 1e6
MOST_NAMED = 3  # smaller sizes, in one sentence
PARTS = (0.75, 0.5, 0.25)  # of the edges, proposed where a checkpoint draws any size
EDGE_STEP = 16
OTHER = (
    "Choose a smaller checkpoint, or ask an operator to give the engine room more memory "
    "(TESSERA_MEMORY_BUDGET_MB, or the limits of the device in the admin)."
)

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sentence, and what to do. `smaller` are the sizes that would fit, the largest first."""

    message: str
    hint: str
    smaller: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What shall be drawn: by which checkpoint (`name` is for people), beginning with which plan, in which size.

    `sizes` are those that it can draw, none for any. `device` is a kind, `gives` the bytes that one may have of it.
    """

    name: str
    footprint: Footprint
    plan: Plan
    size: Size
    sizes: tuple[Size, ...]
    device: str
    gives: int
    capability: Capability = "text_to_image"

    def refusal(self) -> Refusal | None:
        """Why it cannot be drawn here, even in the most sparing way; None when it can."""
        fits, need = self._fitting(self.size)
        if fits:
            return None
        if self.capability == "describe":
            return Refusal(f"{self._needs(need)} to describe a picture, {self._gives(need)}.", OTHER)
        smaller = [size for size in self._smaller() if self._fitting(size)[0]]
        asked = f"{self._needs(need)} for {_words(self.size)}, {self._gives(need)}"
        if smaller:
            named = ", ".join(map(_words, smaller[:MOST_NAMED]))
            return Refusal(f"{asked}; smaller: {named}.", "Choose a smaller size.", tuple(smaller))
        return Refusal(f"{asked}{self._least(need)}.", OTHER)

    def _fitting(self, size: Size) -> tuple[bool, int]:
        plan, need = first_plan(self.footprint, self.plan, *size, device=self.device, gives=self.gives)
        return plan is not None, need

    def _smaller(self) -> list[Size]:
        """Those of fewer pixels, the largest first."""
        found = set(self.sizes or _parts(self.size))
        return sorted((size for size in found if math.prod(size) < math.prod(self.size)), key=math.prod, reverse=True)

    def _least(self, asked: int) -> str:
        """What even the smallest of all needs."""
        smallest = min(self._smaller(), key=lambda size: self._fitting(size)[1], default=None)
        if smallest is None:
            return ""
        need, _ = _amounts(self._fitting(smallest)[1], self.gives)
        return f", and no size fits: {_words(smallest)} needs {need}"

    def _needs(self, need: int) -> str:
        return f"{self.name} needs {_amounts(need, self.gives)[0]}"

    def _gives(self, need: int) -> str:
        return f"this device gives {_amounts(need, self.gives)[1]}"


def _amounts(need: int, gives: int) -> tuple[str, str]:
    """In the same unit; rounded away from each other, so that what does not fit never looks as if it did."""
    if need < GIGABYTE:
        return f"{math.ceil(need / MEGABYTE)} MB", f"{math.floor(gives / MEGABYTE)} MB"
    tenth = GIGABYTE / 10
    return f"{math.ceil(need / tenth) / 10:.1f} GB", f"{math.floor(gives / tenth) / 10:.1f}"


def _parts(size: Size) -> Iterator[Size]:
    for part in PARTS:
        edges = [int(edge * part) // EDGE_STEP * EDGE_STEP for edge in size]
        if min(edges) >= MIN_EDGE:
            yield edges[0], edges[1]


def _words(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def sizes_of(sizes: Iterable[Iterable[int]]) -> tuple[Size, ...]:
    """As they are kept in JSON."""
    return tuple((width, height) for width, height in sizes)
