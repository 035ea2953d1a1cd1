"""The traffic cop: knows what is held where, admits, lays aside, forgets, measures, and tells what it did.

Trusts no estimate: memory is measured before and after every load and every purge. One thread at a time may
acquire; `resident` and `ledger` may be read from any.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import psutil

from generation.engines import heap
from generation.engines.base import Engine
from generation.engines.errors import DeviceMemoryError, EngineError
from generation.engines.factory import create_engine
from generation.engines.fingerprint import Sums
from generation.engines.footprint import GIGABYTE
from generation.engines.foresight import Foresight, does_not_fit
from generation.engines.fragments import LOADED, LOADING, PURGED, Note
from generation.engines.ledger import Ledger
from generation.engines.limits import MEBIBYTE, NO_LIMITS, Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, MEMORY_RUNGS, MemoryRung, Plan
from generation.engines.precision import name_for
from generation.engines.tiers import Entry, Tiers

if TYPE_CHECKING:
    from generation.engines.device import Device

logger = logging.getLogger(__name__)

SLACK = 256 * MEBIBYTE  # growth below which nobody looks closer
TRIM_SECONDS = 60.0  # between two closer looks: each takes from the next picture what it would find ready
LOADING_RUNGS: tuple[MemoryRung, ...] = ("components", "sequential")  # the only ones that need less to load


class MemoryManager:
    """Holds checkpoints on the device as long as they fit its budget, then warm in host memory as long as that fits.

    The longest unused leaves first; what is in use never moves.
    """

    def __init__(
        self, device: "Device", *, limits: Limits = NO_LIMITS, tell: Callable[[Note], None] = lambda note: None
    ) -> None:
        self.device = device
        self.limits = limits
        self.tell = tell
        self._foresight = Foresight(device)
        self._sums = Sums()
        self.outside = 0  # bytes that were in use beside the newest engine when it was acquired
        budget = limits.device_budget(device.memory_total())
        device.confine(budget)
        warm = limits.warm_budget(psutil.virtual_memory().total, unified=device.unified)
        device.pinnable = warm
        self._tiers = Tiers(Ledger(budget, warm, device.unified, name_for(device, ""), baseline=device.memory_used()))
        self._known: set[CheckpointSpec] = set()
        self._trimmed = -math.inf  # when the heap's free pages were last given back
        self._floor: float = math.inf  # bytes in use beside the checkpoints right after that
        self._unready: set[CheckpointSpec] = set()  # to be kept warm, but could not be loaded

    @property
    def resident(self) -> tuple[tuple[str, int], ...]:
        """(name, bytes of the weights) of what is on the device now."""
        return self._tiers.listed

    @property
    def ledger(self) -> Ledger:
        """Who holds what."""
        return self._tiers.ledger

    @contextmanager
    def acquire(self, spec: CheckpointSpec, plan: Plan = AS_IS, *, need: int | None = None) -> Iterator[Engine]:
        """The loaded engine, set to draw by `plan`, which stays where it is meanwhile. `need`: bytes, with its work.

        Raises CheckpointError, DeviceMemoryError.

        An engine that fails inside is trusted again only when it failed in an expected way.
        """
        entry = self._admit(spec, plan, need)
        entry.leases += 1
        sound = False
        try:
            self._tiers.publish()
            yield entry.engine
            sound = True
        except EngineError:
            sound = True
            raise
        finally:
            entry.leases -= 1
            if entry.engine.weights is not None:
                entry.engine.weights.recount()
            entry.used = time.time()
            self._tiers.publish()
            if not sound:
                self._forget([entry], "it failed unexpectedly")

    def purge(self, reason: str) -> int:
        """Forget every checkpoint that nobody uses; the bytes that came free."""
        return self._forget(self._tiers.idle(), reason)

    def rest(self) -> None:
        """Lay aside what nobody used for long, forget it after as long again. Call now and then while idle."""
        self._trim()
        if not self.limits.idle_seconds:
            return
        now = time.time()
        idle = [entry for entry in self._tiers.idle() if not entry.spec.keep_warm]
        tired = [one for one in idle if now - one.used >= self.limits.idle_seconds]
        gone = [one for one in tired if now - one.used >= 2 * self.limits.idle_seconds]
        self._forget(gone, "nobody used it for long")
        if weary := [one for one in tired if one.tier == "device" and one not in gone]:
            self._lay_aside(weary, "nobody used it for long")
            heap.clear_shelf()  # nobody comes in their stead

    def keep_warm(self, specs: Sequence[CheckpointSpec]) -> None:
        """From now on these, and no others, are kept warm: brought to the device as far as they fit beside the rest.

        One that cannot be loaded is told in the log, and not tried again before somebody draws with it.
        """
        self._tiers.keep_warm(specs)
        for spec in (replace(one, keep_warm=True) for one in specs):
            if spec not in self._unready and self._fits_beside(spec):
                self._unready.add(spec)
                try:
                    with self.acquire(spec, self._foresight.usual(spec)):
                        self._unready.discard(spec)
                except EngineError as error:
                    logger.warning("%s is not kept warm: %s", spec.name, error.message)

    def settle(self, wish: object, *, busy: bool = False) -> None:
        """A wish has ended: measure what is in use beside the checkpoints, and how much that has grown.

        Code that a checkpoint needs is read with its first wish, which is no creep. Nor is what others work with who
        are drawn still: while it is `busy`, nothing is measured.
        """
        wishes = self.ledger.wishes + (wish is not None)
        if busy:
            return self._tiers.publish(wishes=wishes)
        baseline, beside = self.ledger.baseline, self._beside()
        if beside > baseline + SLACK:  # perhaps merely free in the heap, where the next picture finds it
            if time.monotonic() - self._trimmed < TRIM_SECONDS:
                return self._tiers.publish(wishes=wishes)
            self._trim()
            beside = self._beside()
        newest = self._tiers.newest()
        if newest is not None and newest not in self._known:
            if wish is not None:
                self._known.add(newest)
            baseline = max(baseline, beside)
        return self._tiers.publish(baseline=baseline, creep=max(beside - baseline, 0), wishes=wishes)

    def learn(self, spec: CheckpointSpec, plan: Plan, params: GenerationParams) -> int:
        """A wish was drawn by this plan: the bytes that the checkpoint and its drawing needed, kept for the next.

        0, and nothing is kept, where its code was read meanwhile, which counts on a CPU: the next wish has it already.
        """
        if self.device.kind == "cpu" and spec not in self._known:
            return 0
        need = max(self.device.peak_memory() - self.outside, 0)
        self._foresight.note(spec, plan, params, need)
        return need

    def outgrew(self, spec: CheckpointSpec, plan: Plan, params: GenerationParams) -> None:
        """Memory ran out by this plan with nobody beside it: the next wish of this size need not try it again."""
        self._foresight.note(spec, plan, params, self._gives() + 1)

    def remember(self, spec: CheckpointSpec, plan: Plan) -> None:
        """A wish was drawn by this plan: the next one shall not fail again where this one did."""
        self._foresight.remember(spec, plan)
        self._unready.discard(spec)

    def plan_for(self, spec: CheckpointSpec, params: GenerationParams) -> tuple[Plan, int | None]:
        """How to begin with this wish, in the numbers that were last drawn with; and what it needs.

        Raises DeviceMemoryError when it fits in no way.
        """
        return self._foresight.first(spec, params, self._gives())

    def has_room_beside(
        self, spec: CheckpointSpec, plan: Plan, params: GenerationParams, others: Iterable[GenerationParams] = ()
    ) -> bool:
        """Whether one more can be drawn beside the `others`, who may not have used yet what they will need."""
        work = [self._foresight.work(spec, plan, one) * one.count for one in (params, *others)]
        promised = self.outside + self._foresight.weights(spec, plan) + sum(work[1:])
        return max(self._used(self.ledger.budget - work[0]), promised) + work[0] <= self.ledger.budget

    def spare(self, spec: CheckpointSpec, plan: Plan, *, loading: bool = False) -> Plan | None:
        """Memory ran out by `plan`: free all that can be freed; the plan to try next, if any."""
        held = self._tiers.find(spec)
        useful = held.engine.rungs if held is not None else MEMORY_RUNGS
        others = [one for one in self._tiers.idle("device") if one is not held]
        reason = f"memory ran out while {spec.name} was drawing"
        if held is not None and not held.leases:
            self._lay_aside([held], reason)
        if self.device.unified:
            self._forget(others, reason)  # laid aside they would still count where a limit is on what is mapped
        else:
            self._lay_aside(others, reason)
        self.device.purge()
        if others:
            return plan  # with more room it may do as it is
        later = plan.sparing()
        while later is not None and (later.memory not in useful or (loading and later.memory not in LOADING_RUNGS)):
            later = later.sparing()
        return later

    def _fits_beside(self, spec: CheckpointSpec) -> bool:
        """Whether it is not on the device, and could be without driving out another."""
        resident = self._tiers.resident()
        if self._tiers.find(spec) in resident or (self.limits.most and len(resident) >= self.limits.most):
            return False
        need = self._foresight.weights(spec, self._foresight.usual(spec))
        return self._used(self.ledger.budget - need) + need <= self.ledger.budget

    def _used(self, most: int) -> int:
        """Bytes in use; when they are more than `most`, once more without those that are merely free in the heap."""
        used = self.device.memory_used()
        if used > most:
            self._trim()
            used = self.device.memory_used()
        return used

    def _beside(self) -> int:
        """Bytes in use beside the checkpoints."""
        return max(self.device.memory_used() - self._tiers.device_bytes(), 0)

    def _trim(self) -> None:
        self.device.trim()
        self._trimmed, self._floor = time.monotonic(), self._beside()

    def _gives(self) -> int:
        """Bytes that one checkpoint can have now if all others leave."""
        ours = self.ledger.gives
        return max(min(ours, self.device.memory_free() + self._tiers.device_bytes()), 0)

    def _admit(self, spec: CheckpointSpec, plan: Plan, need: int | None) -> Entry:
        entry = self._tiers.find(spec)
        if entry is not None:
            self._tiers.use(entry, spec)
            if not entry.engine.adapt(plan):
                self._forget([entry], "it is read anew for another plan")
                entry = None
        if need is None:
            need = self._foresight.weights(spec, plan)
        self._make_room(spec, need, entry)
        asleep = entry is not None and (entry.tier == "warm" or entry.plan.memory != plan.memory)
        self._clear_shelf(entry if asleep else None)
        self.device.reset_peak()
        others = self._tiers.device_bytes() - (entry.device_bytes if entry else 0)
        self.outside = int(min(self._beside(), self._floor)) + others
        if entry is None:
            return self._load(spec, plan) or self._load_alone(spec, plan)
        entry.plan = plan
        if asleep and entry.engine.weights is not None and not self._wake(entry):
            # the second try stands outside any `except`: a traceback keeps alive the tensors that did not fit
            self._forget([one for one in self._tiers.idle() if one is not entry], f"{spec.name} did not fit")
            self.device.purge()
            if not self._wake(entry):
                raise does_not_fit(spec)
        return entry

    def _clear_shelf(self, waking: Entry | None) -> None:
        """But for what will be used at once: the rest would count as this wish's, and be missing while it draws."""
        if waking is not None and waking.engine.weights is not None:
            heap.keep_shelved(waking.engine.weights.reused_bytes)
        else:
            heap.clear_shelf()

    def _make_room(self, spec: CheckpointSpec, need: int, entry: Entry | None) -> None:
        """Lay others aside, one after the other, until the newcomer fits or nobody else can go. Measured each time."""
        most, left = self.limits.most, 0
        while True:
            others = [one for one in self._tiers.resident() if one is not entry]
            crowded = bool(most) and len(others) >= most
            own = entry.device_bytes if entry else 0
            have = self._used(self.ledger.budget - need + own) - own
            if not crowded and (have + need <= self.ledger.budget or not others):
                return
            idle = [one for one in self._tiers.idle("device") if one is not entry]
            if not idle and crowded:
                raise DeviceMemoryError(f"No room for {spec.name}: everything that is loaded is in use.")
            if not idle:
                return
            if left == 1 and not crowded:
                self.device.purge()  # before a second one leaves: it may have been garbage
            else:
                self._lay_aside(idle[:1], f"{spec.name} is asked for")
            left += 1

    def _load_alone(self, spec: CheckpointSpec, plan: Plan) -> Entry:
        self.purge(f"{spec.name} did not fit")
        self.device.purge()
        loaded = self._load(spec, plan)
        if loaded is None:
            raise does_not_fit(spec)
        return loaded

    def _load(self, spec: CheckpointSpec, plan: Plan) -> Entry | None:
        """None when memory ran out. Whatever fails, nothing of it stays resident."""
        heap.clear_shelf()
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
        entry = Entry(spec, engine, plan)
        self._tiers.add(entry)
        seconds = time.perf_counter() - began
        self._report(LOADED, f"Loaded {spec.name}", before, seconds, checkpoint=spec.name, tier="files")
        return entry

    def _tell_check(self, name: str, done: int, total: int) -> None:
        message = f"Checking the files of {name}, {done / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB"
        self.tell(Note(LOADING, message, {"checkpoint": name}))

    def _wake(self, entry: Entry) -> bool:
        """Bring it back to the device; false when memory ran out, and then it is laid aside still."""
        before, began, name = self.device.memory_used(), time.perf_counter(), entry.spec.name
        weights = entry.engine.weights
        assert weights is not None  # noqa: S101 else it would have been forgotten
        self.tell(Note(LOADING, f"Waking {name}", {"checkpoint": name}))
        try:
            with self.device.memory_errors(f"waking {name}"):
                weights.wake()
        except DeviceMemoryError:
            logger.warning("Memory ran out while %s was woken", name)
            weights.sleep()
            heap.clear_shelf()
            return False
        self.device.synchronize()
        entry.move("device")
        self._tiers.publish()
        self._report(LOADED, f"Woke {name}", before, time.perf_counter() - began, checkpoint=name, tier="warm")
        return True

    def _lay_aside(self, leaving: list[Entry], reason: str) -> int:
        """From the device to host memory; forgets those that cannot be, and the longest unused beyond the budget."""
        awake = [one for one in leaving if getattr(one.engine, "weights", None) is not None]
        freed = self._forget([one for one in leaving if one not in awake], reason)
        freed += self._leave(awake, "Laid aside", reason, self._to_warm, self.device.tidy)
        while self._tiers.warm_bytes() > self.ledger.warm_budget and (idle := self._tiers.idle("warm")):
            self._forget(idle[:1], "host memory is full")
        return freed

    def _forget(self, leaving: list[Entry], reason: str) -> int:
        return self._leave(leaving, "Unloaded", reason, self._drop, self.device.purge)

    def _leave(
        self, leaving: list[Entry], done: str, reason: str, how: Callable[[Entry], None], clean: Callable[[], None]
    ) -> int:
        if not leaving:
            return 0
        before, began = self.device.memory_used(), time.perf_counter()
        for entry in leaving:
            how(entry)
        clean()
        self._floor = self._beside()
        names = [entry.spec.name for entry in leaving]
        message, seconds = f"{done} {', '.join(names)}: {reason}", time.perf_counter() - began
        return self._report(PURGED, message, before, seconds, checkpoints=names)

    def _to_warm(self, entry: Entry) -> None:
        assert entry.engine.weights is not None  # noqa: S101 the caller has seen to it
        entry.engine.weights.sleep()
        entry.move("warm")
        self._tiers.publish()

    def _drop(self, entry: Entry) -> None:
        self._tiers.remove(entry)
        entry.engine.unload()

    def _report(self, kind: str, message: str, before: int, seconds: float, **about: object) -> int:
        after = self.device.memory_used()
        detail = {"before": before, "after": after, "freed": before - after, "seconds": round(seconds, 3), **about}
        logger.info("%s (%d MiB -> %d MiB, %.2f s)", message, before // MEBIBYTE, after // MEBIBYTE, seconds)
        self.tell(Note(kind, message, detail))
        return before - after
