"""Whom a device serves next. The policy of docs/queue.md, and nothing but that.

Who was promoted comes first, then the lane of now, then that of the night. In a lane people take turns by what was
charged to them (`turns`). A request whose checkpoint is loaded may overtake those before it, within two bounds: the
device goes on like that until it has drawn for some times as long as the loading takes, and nobody is passed over for
longer than a set time. A request does not make one device load what another one, that has it loaded, will come to
sooner.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from generation.policy.line import Lane, Line, Waiting
from generation.policy.turns import Turns

Load = Callable[[str], float]
"""Seconds that loading a checkpoint takes on the device that asks."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be tuned, all in seconds but `stay`."""

    quantum: float = 10.0
    stay: float = 3.0
    """While others wait for a checkpoint, a device draws on with those it has for so many times its loading time."""
    longest_passed: float = 300.0
    """Nobody is passed over for longer."""


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device at this moment."""

    name: Hashable
    resident: frozenset[str] = frozenset()
    present: frozenset[str] | None = None
    """Checkpoints that it has at all; None is all."""
    free_in: float = 0.0
    """Seconds until it has drawn what it draws now."""
    drawn: float = float("inf")
    """Device-seconds that it drew since it last loaded something."""

    def has(self, checkpoint: str) -> bool:
        """Whether it can draw with it at all."""
        return self.present is None or checkpoint in self.present


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is served; `loads`: seconds of loading, 0 if loaded. `passed` would have come first but are not loaded."""

    waiting: Waiting
    loads: float = 0.0
    passed: tuple[Waiting, ...] = ()

    @property
    def charge(self) -> float:
        """What its owner is charged: who causes a swap pays for it, once."""
        return self.waiting.seconds + self.loads


Key = tuple[int, float, Any]


@dataclass(slots=True)
class Chooser:
    """One choice for one device. `passed`: since when somebody has been passed over."""

    line: Line
    turns: Turns
    device: DeviceNow
    load: Load
    rules: Rules = field(default_factory=Rules)
    others: Iterable[DeviceNow] = ()
    passed: Mapping[Hashable, float] = field(default_factory=dict)
    now: float = 0.0
    _skipped: set[Hashable] = field(default_factory=set)
    _booked: dict[Hashable, float] = field(default_factory=dict)

    def choose(self) -> Choice | None:
        """The next one; None when nobody waits whom this device should serve."""
        promoted = [one for one in self.line.promoted.values() if self.device.has(one.checkpoint)]
        if promoted:
            return self._choice(min(promoted, key=lambda one: (one.promoted_at or 0.0, one.own_order)))
        for lane in self.line.lanes:
            if (found := self._in_lane(lane)) is not None:
                return found
        return None

    def left_to_others(self) -> bool:
        """Whether somebody waits for another device because that is sooner than loading here."""
        return bool(self._skipped)

    def _in_lane(self, lane: Lane) -> Choice | None:
        self.turns.rise(lane.people)
        while (first := self._first(lane, self.device.present)) is not None:
            if first.checkpoint in self.device.resident:
                return self._choice(first)
            if self._sooner_elsewhere(first):
                continue
            return self._cold(lane, first)
        return None

    def _cold(self, lane: Lane, first: Waiting) -> Choice:
        """It is the turn of one that is not loaded: it is served, or passed over."""
        warm = self._first(lane, self._usable_residents)
        if warm is None or self.device.drawn >= self.rules.stay * self.load(first.checkpoint):
            return self._choice(first)
        ahead = self._ahead(lane, warm)
        late = next((one for one in ahead if self._is_late(one)), None)
        return self._choice(late) if late else Choice(warm, 0.0, tuple(ahead))

    def _ahead(self, lane: Lane, warm: Waiting) -> list[Waiting]:
        """In their order, the first of each person whose turn is before that of `warm` and who is not loaded."""
        limit, found = self._key(warm), list[tuple[Key, Waiting]]()
        for person in lane.people:
            one = lane.first_of(person, self.device.present, self._skipped)
            if one is None or one.checkpoint in self.device.resident:
                continue
            if self._key(one) < limit or (person == warm.owner and one.own_order < warm.own_order):
                found.append((self._key(one), one))
        return [one for _, one in sorted(found, key=lambda entry: entry[0])]

    def _first(self, lane: Lane, checkpoints: frozenset[str] | None) -> Waiting | None:
        firsts = (lane.first_of(person, checkpoints, self._skipped) for person in lane.people)
        return min((one for one in firsts if one is not None), key=self._key, default=None)

    def _key(self, one: Waiting) -> Key:
        return (self.turns.round_of(one.owner, self.rules.quantum), one.asked_at, one.id)

    def _sooner_elsewhere(self, one: Waiting) -> bool:
        if self._is_late(one):
            return False
        for other in self.others:
            wait = other.free_in + self._booked.get(other.name, 0.0)
            if one.checkpoint in other.resident and wait < self.load(one.checkpoint):
                self._booked[other.name] = self._booked.get(other.name, 0.0) + one.seconds
                self._skipped.add(one.id)
                return True
        return False

    def _is_late(self, one: Waiting) -> bool:
        return self.now - self.passed.get(one.id, self.now) >= self.rules.longest_passed

    @property
    def _usable_residents(self) -> frozenset[str]:
        present = self.device.present
        return self.device.resident if present is None else self.device.resident & present

    def _choice(self, one: Waiting) -> Choice:
        return Choice(one, 0.0 if one.checkpoint in self.device.resident else self.load(one.checkpoint))
