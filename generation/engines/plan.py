"""How a wish is carried out: with which numbers, and how sparing of memory. Written down with every picture. No torch.

A plan is stepped down, never up, while one wish is drawn: a rung of memory when memory ran out, a rung of precision
when the numbers did. What each rung means is the business of `precision` and of each engine.
"""

from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

MemoryRung = Literal["whole", "sliced", "tiled", "single", "components", "sequential"]
MEMORY_RUNGS: tuple[MemoryRung, ...] = get_args(MemoryRung)
"""From fast to sparing, each keeps what those before it do.

whole: as the library does it. sliced: attention and decoder work on one picture at a time. tiled: the decoder works on
overlapping tiles. single: no two pictures in one batch. components: weights wait in host memory, the part that works
is on the device. sequential: the same layer by layer.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """`precision` is a name of `precision.RUNGS`; an empty one means the best that works on the device."""

    precision: str = ""
    memory: MemoryRung = "whole"

    def sparing(self) -> Self | None:
        """The same, one rung more sparing of memory; None at the end of the ladder."""
        place = MEMORY_RUNGS.index(self.memory) + 1
        return None if place == len(MEMORY_RUNGS) else replace(self, memory=MEMORY_RUNGS[place])

    def uses(self, rung: MemoryRung) -> bool:
        """Whether this rung, or one below it, is reached."""
        return MEMORY_RUNGS.index(self.memory) >= MEMORY_RUNGS.index(rung)


AS_IS = Plan()
"""The device's best numbers, and no sparing."""
