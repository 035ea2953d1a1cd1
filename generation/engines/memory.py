"""The traffic cop: knows what is resident, admits, purges, measures, and tells what it did and how long it took.

Trusts no estimate: memory is measured before and after every load and every purge. One thread at a time may
acquire; `resident` may be read from any.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from generation.engines.base import Engine
from generation.engines.errors import DeviceMemoryError, EngineError
from generation.engines.factory import create_engine
from generation.engines.fingerprint import Sums
from generation.engines.fragments import LOADED, LOADING, PURGED, Note
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, Plan

if TYPE_CHECKING:
    from generation.engines.device import Device

logger = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
GIGABYTE = 1e9


@dataclass(slots=True)
class Resident:
    """One loaded checkpoint. While `leases` is above 0 it is in use and never moves."""

    spec: CheckpointSpec
    engine: Engine
    size_bytes: int
    leases: int = 0


class MemoryManager:
    """Loads and forgets checkpoints so that at most `capacity` are resident; the longest unused goes first."""

    def __init__(
        self, device: "Device", *, capacity: int = 1, tell: Callable[[Note], None] = lambda note: None
    ) -> None:
        self.device = device
        self.capacity = capacity
        self.tell = tell
        self._entries: list[Resident] = []  # the longest unused first
        self._precisions: dict[CheckpointSpec, str] = {}
        self._listed: tuple[tuple[str, int], ...] = ()
        self._sums = Sums()

    @property
    def resident(self) -> tuple[tuple[str, int], ...]:
        """(name, bytes of the weights) of what is loaded now."""
        return self._listed

    @contextmanager
    def acquire(self, spec: CheckpointSpec, plan: Plan = AS_IS) -> Iterator[Engine]:
        """The loaded engine, set to draw by `plan`, which stays where it is meanwhile.

        Raises CheckpointError, DeviceMemoryError.

        An engine that fails inside is trusted again only when it failed in an expected way.
        """
        entry = self._admit(spec, plan)
        entry.leases += 1
        sound = False
        try:
            yield entry.engine
            sound = True
        except EngineError:
            sound = True
            raise
        finally:
            entry.leases -= 1
            if not sound:
                self._evict([entry], "it failed unexpectedly")

    def purge(self, reason: str) -> int:
        """Forget every checkpoint that nobody uses; the bytes that came free."""
        return self._evict([entry for entry in self._entries if not entry.leases], reason)

    def plan_for(self, spec: CheckpointSpec, params: GenerationParams) -> Plan:
        """How to begin with this wish: in the numbers that its checkpoint was last drawn with."""
        chosen = "" if spec.precision == "auto" else spec.precision
        return Plan(precision=self._precisions.get(spec, chosen))

    def remember(self, spec: CheckpointSpec, plan: Plan) -> None:
        """A wish was drawn by this plan: the next one shall not fail again where this one did."""
        self._precisions[spec] = plan.precision

    def spare(self, spec: CheckpointSpec, plan: Plan) -> Plan | None:
        """Memory ran out while drawing by `plan`: free all that can be freed; the next plan, if any."""
        self.purge(f"memory ran out while {spec.name} was drawing")
        self.device.purge()
        return plan.sparing()

    def _admit(self, spec: CheckpointSpec, plan: Plan) -> Resident:
        for entry in list(self._entries):
            if entry.spec == spec:
                self._entries.remove(entry)
                self._entries.append(entry)
                if entry.engine.adapt(plan):
                    return entry
                self._evict([entry], "it is read anew for another plan")
        self._make_room(spec)
        # the second try stands outside any `except`: a traceback keeps alive the tensors that did not fit
        return self._load(spec, plan) or self._load_alone(spec, plan)

    def _make_room(self, spec: CheckpointSpec) -> None:
        while len(self._entries) >= self.capacity:
            idle = [entry for entry in self._entries if not entry.leases]
            if not idle:
                raise DeviceMemoryError(f"No room for {spec.name}: everything that is loaded is in use.")
            self._evict(idle[:1], f"{spec.name} is asked for")

    def _load_alone(self, spec: CheckpointSpec, plan: Plan) -> Resident:
        self.purge(f"{spec.name} did not fit")
        self.device.purge()
        loaded = self._load(spec, plan)
        if loaded is None:
            raise DeviceMemoryError(
                f"{spec.name} does not fit into the memory of this device.",
                hint="Use a smaller checkpoint, or free memory on the device.",
            )
        return loaded

    def _load(self, spec: CheckpointSpec, plan: Plan) -> Resident | None:
        """None when memory ran out. Whatever fails, nothing of it stays resident."""
        before, began = self.device.memory_used(), time.perf_counter()
        self.tell(Note(LOADING, f"Loading {spec.name}", {"checkpoint": spec.name}))
        self._sums.verify(spec, partial(self._tell_check, spec.name))
        engine = create_engine(spec)
        loaded = False
        try:
            engine.load(self.device, plan)
            loaded = True
        except (DeviceMemoryError, MemoryError):
            logger.warning("Memory ran out while %s was loaded", spec.name)
            return None
        finally:
            if not loaded:
                engine.unload()
        self.device.synchronize()
        entry = Resident(spec, engine, engine.size_bytes())
        self._entries.append(entry)
        self._list()
        self._report(LOADED, f"Loaded {spec.name}", before, time.perf_counter() - began, checkpoint=spec.name)
        return entry

    def _tell_check(self, name: str, done: int, total: int) -> None:
        message = f"Checking the files of {name}, {done / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB"
        self.tell(Note(LOADING, message, {"checkpoint": name}))

    def _evict(self, leaving: list[Resident], reason: str) -> int:
        if not leaving:
            return 0
        before, began = self.device.memory_used(), time.perf_counter()
        for entry in leaving:
            self._drop(entry)
        self.device.purge()
        names = [entry.spec.name for entry in leaving]
        message = f"Unloaded {', '.join(names)}: {reason}"
        return self._report(PURGED, message, before, time.perf_counter() - began, checkpoints=names)

    def _drop(self, entry: Resident) -> None:
        self._entries.remove(entry)
        self._list()
        entry.engine.unload()

    def _list(self) -> None:
        self._listed = tuple((entry.spec.name, entry.size_bytes) for entry in self._entries)

    def _report(self, kind: str, message: str, before: int, seconds: float, **about: object) -> int:
        after = self.device.memory_used()
        detail = {"before": before, "after": after, "freed": before - after, "seconds": round(seconds, 3), **about}
        logger.info("%s (%d MiB -> %d MiB, %.2f s)", message, before // MEBIBYTE, after // MEBIBYTE, seconds)
        self.tell(Note(kind, message, detail))
        return before - after
