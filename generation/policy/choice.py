"""Whom a device serves next. The policy of docs/queue.md, and nothing but that.

Who was promoted comes first, then the lane of now, then that of the night. In a lane people take turns by what was
charged to them (`turns`). A request whose checkpoint is loaded may overtake those before it, within two bounds: the
device goes on like that until it has drawn for some times as long as the loading takes, and nobody is passed over for
longer than a set time. A request does not make one device load what another one, that has it loaded, will come to
sooner.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from generation.policy.line import Lane, Line, Waiting
from generation.policy.turns import Turns

Load = Callable[[str], float]
"""Seconds that loading a checkpoint takes on the device that asks."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be tuned, all in seconds but `stay`."""

    quantum: float = 10.0
    in_order: float = 0.8
    """Share of a device's time that goes in the order of asking, while turns would let others overtake; 0: turns only.
    So nobody waits much longer than the whole of what was asked before, divided by this share, takes."""
    credit_first: float = 100.0
    """What a device begins with."""
    credit_most: float = 300.0
    """Seconds of overtaking that can be saved up, or owed."""
    stay: float = 8.0
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
    credit: float = 0.0
    """Device-seconds for which those who asked later may overtake by their turn."""
    unfit: frozenset[Hashable] = frozenset()
    """Requests that it leaves to others, because it has not the memory for them."""

    def can(self, one: Waiting) -> bool:
        """Whether it can draw it at all."""
        return (self.present is None or one.checkpoint in self.present) and one.id not in self.unfit


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is served; `loads`: seconds of loading, 0 if loaded. `passed` would have come first but are not loaded."""

    waiting: Waiting
    loads: float = 0.0
    passed: tuple[Waiting, ...] = ()
    credit: float = 0.0
    """What the device's is from now on."""

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
    others: Sequence[DeviceNow] = ()
    passed: Mapping[Hashable, float] = field(default_factory=dict)
    now: float = 0.0
    _skipped: set[Hashable] = field(default_factory=set)
    _booked: dict[Hashable, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._skipped |= self.device.unfit

    def choose(self) -> Choice | None:
        """The next one; None when nobody waits whom this device should serve."""
        promoted = [one for one in self.line.promoted.values() if self.device.can(one)]
        if promoted:
            return self._choice(min(promoted, key=lambda one: (one.promoted_at or 0.0, one.own_order)))
        for lane in self.line.lanes:
            if (found := self._in_lane(lane)) is not None:
                return replace(found, credit=self._credit(lane, found))
        return None

    def _in_lane(self, lane: Lane) -> Choice | None:
        self.turns.rise(lane.people)
        while (first := self._first(lane, self.device.present)) is not None:
            if first.checkpoint in self.device.resident:
                return self._choice(first)
            if self._sooner_elsewhere(first):
                continue
            return self._cold(lane, first)
        return None

    def _credit(self, lane: Lane, choice: Choice) -> float:
        """Spent by overtaking who asked before and could have been served as well, earned by keeping the order."""
        known = None if choice.loads else self._usable_residents
        firsts = (lane.first_of(person, known, self._skipped) for person in lane.people)
        overtakes = any(one is not None and one.asked_at < choice.waiting.asked_at for one in firsts)
        share = self.rules.in_order
        if not share:
            return self.rules.credit_most
        earned = choice.waiting.seconds * (1 - share) / share
        credit = self.device.credit + (-choice.charge if overtakes else earned)
        return max(min(credit, self.rules.credit_most), -self.rules.credit_most)

    def _may_swap(self, one: Waiting) -> bool:
        return self.device.drawn >= self.rules.stay * self.load(one.checkpoint)

    def _cold(self, lane: Lane, first: Waiting) -> Choice:
        """It is the turn of one that is not loaded: it is served, or passed over."""
        warm = self._first(lane, self._usable_residents)
        if warm is None or self._may_swap(first):
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
        by_turn = self.device.credit > 0
        return (self.turns.round_of(one.owner, self.rules.quantum) if by_turn else 0, one.asked_at, one.id)

    def _sooner_elsewhere(self, one: Waiting) -> bool:
        if self._is_late(one):
            return False
        for other in self.others:
            wait = other.free_in + self._booked.get(other.name, 0.0)
            if other.can(one) and one.checkpoint in other.resident and wait < self.load(one.checkpoint):
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
        loads = 0.0 if one.checkpoint in self.device.resident else self.load(one.checkpoint)
        return Choice(one, loads, credit=self.device.credit)
