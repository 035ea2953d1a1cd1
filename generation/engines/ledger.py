"""Who holds how much memory of a device, since when: what the room tells of itself, and operators read. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Tier = Literal["device", "warm"]


@dataclass(frozen=True, slots=True)
class Holding:
    """One checkpoint that is held. Times are seconds since 1970.

    `device_bytes` are on the device, `warm_bytes` wait in host memory; `leases` above 0: in use, it never moves.
    """

    name: str
    tier: Tier
    device_bytes: int
    warm_bytes: int
    precision: str
    memory: str
    leases: int
    keep_warm: bool
    since: float
    last_used: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of them. `baseline` is what the room holds without any checkpoint, `creep` by how much that has grown.

    `precision`: the numbers that the device draws with unless a checkpoint says otherwise.
    """

    budget: int
    warm_budget: int
    unified: bool
    precision: str = ""
    baseline: int = 0
    creep: int = 0
    wishes: int = 0
    holdings: tuple[Holding, ...] = ()

    @property
    def gives(self) -> int:
        """Bytes that one checkpoint and its drawing can have."""
        return max(self.budget - self.baseline, 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "holdings": [asdict(holding) for holding in self.holdings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reverse. Raises TypeError when it is no ledger."""
        holdings = tuple(Holding(**holding) for holding in values.get("holdings", ()))
        return cls(**{**values, "holdings": holdings})
