"""What is held: on the device, or warm in host memory; who uses it, who was used last. Moves nothing by itself."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from generation.engines.base import Engine
from generation.engines.ledger import Holding, Ledger, Tier
from generation.engines.params import CheckpointSpec
from generation.engines.plan import Plan


@dataclass(slots=True, eq=False)
class Entry:
    """One checkpoint that is held. While `leases` is above 0 it is in use and never moves."""

    spec: CheckpointSpec
    engine: Engine
    plan: Plan
    tier: Tier = "device"
    leases: int = 0
    since: float = field(default_factory=lambda: time.time())
    used: float = field(default_factory=lambda: time.time())
    _size: tuple[object, int] = (None, 0)  # as long as it is the same plan in the same place

    @property
    def size_bytes(self) -> int:
        """Of its weights. To ask the engine takes hundredths of a second, and every wish would four times."""
        state = (self.plan, self.tier, self.since)
        if self._size[0] != state:
            self._size = state, self.engine.size_bytes()
        return self._size[1]

    @property
    def device_bytes(self) -> int:
        """On the device now. An engine whose weights cannot be laid aside is there as a whole."""
        weights = getattr(self.engine, "weights", None)
        if weights is None:
            return self.engine.size_bytes()
        return int(weights.device_bytes + getattr(self.engine, "made_bytes", 0))

    @property
    def warm_bytes(self) -> int:
        """Waiting in host memory."""
        weights = getattr(self.engine, "weights", None)
        return 0 if weights is None else weights.warm_bytes

    @property
    def host_bytes(self) -> int:
        """Of host memory beside the device's: what waits there, or what is pinned for it to come back."""
        return self.warm_bytes if self.tier == "warm" else getattr(self.engine.weights, "pinned_bytes", 0)

    def move(self, tier: Tier) -> None:
        """It is there from now on."""
        self.tier, self.since = tier, time.time()

    def holding(self) -> Holding:
        """For the ledger."""
        return Holding(
            name=self.spec.name,
            tier=self.tier,
            device_bytes=self.device_bytes,
            warm_bytes=self.warm_bytes,
            precision=self.plan.precision,
            memory=self.plan.memory,
            leases=self.leases,
            keep_warm=self.spec.keep_warm,
            since=round(self.since, 1),
            last_used=round(self.used, 1),
        )


class Tiers:
    """All entries, the longest unused first. `ledger` and `listed` may be read by any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.listed: tuple[tuple[str, int], ...] = ()
        self._entries: list[Entry] = []

    def find(self, spec: CheckpointSpec) -> Entry | None:
        """What is held of this checkpoint."""
        return next((entry for entry in self._entries if entry.spec == spec), None)

    def add(self, entry: Entry) -> None:
        """Held from now on."""
        self._entries.append(entry)
        self.publish()

    def remove(self, entry: Entry) -> None:
        """Held no longer."""
        self._entries.remove(entry)
        self.publish()

    def use(self, entry: Entry, spec: CheckpointSpec) -> None:
        """It is the one used last; what is told of it may be newer than what it was loaded by."""
        self._entries.remove(entry)
        self._entries.append(entry)
        entry.spec, entry.used = spec, time.time()

    def keep_warm(self, specs: Collection[CheckpointSpec]) -> None:
        """These and no others."""
        for entry in self._entries:
            entry.spec = replace(entry.spec, keep_warm=entry.spec in specs)
        self.publish()

    def idle(self, tier: Tier | None = None) -> list[Entry]:
        """What nobody uses, in the order in which it may go: kept-warm ones last, the longest unused first."""
        free = [entry for entry in self._entries if not entry.leases and tier in (None, entry.tier)]
        return sorted(free, key=lambda entry: entry.spec.keep_warm)

    def newest(self) -> CheckpointSpec | None:
        """What was used last."""
        return self._entries[-1].spec if self._entries else None

    def resident(self) -> list[Entry]:
        """On the device."""
        return [entry for entry in self._entries if entry.tier == "device"]

    def device_bytes(self) -> int:
        """Held on the device by all."""
        return sum(entry.device_bytes for entry in self._entries)

    def warm_bytes(self) -> int:
        """Held in host memory by all."""
        return sum(entry.host_bytes for entry in self._entries)

    def publish(self, **changes: Any) -> None:
        """Let other threads see how it is now."""
        holdings = tuple(entry.holding() for entry in self._entries)
        self.ledger = replace(self.ledger, holdings=holdings, **changes)
        self.listed = tuple((entry.spec.name, entry.size_bytes) for entry in self.resident())
