"""Figures of the benches, each beside its bar. Ratios only: a bench compares two ways in one run on one machine."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `bar` is what it must reach (`least`) or stay below (`most`); None is a report without a bar.

    `remark`: what was measured, with what, and anything that makes the figure less than it seems.
    """

    name: str
    value: float
    bar: float | None = None
    sense: Literal["least", "most"] = "least"
    unit: str = "x"
    remark: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.sense == "least" else self.value <= self.bar

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "holds": self.holds}


Bench = Callable[[], list[Row]]
