"""Three ways to choose who is served next, in one shape: first in first out, round robin, and the house's policy."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from generation.policy.choice import Choice, Chooser, DeviceNow, Rules
from generation.policy.line import Line, Waiting
from generation.policy.turns import Turns

Load = Callable[[str], float]


class Policy(Protocol):
    """What the simulation asks."""

    def add(self, one: Waiting) -> None:
        """Somebody asks."""

    def take(self, device: DeviceNow, others: Sequence[DeviceNow], load: Load, now: float) -> Choice | None:
        """Who is served by `device` now, if anybody; no longer in the line then."""


@dataclass(slots=True)
class Fifo:
    """First in, first out. Knows nothing of lanes, people, or what is loaded; draws every request at one go."""

    queue: deque[Waiting] = field(default_factory=deque)

    def add(self, one: Waiting) -> None:
        """As Policy."""
        self.queue.append(_whole(one))

    def take(self, device: DeviceNow, others: Sequence[DeviceNow], load: Load, now: float) -> Choice | None:
        """As Policy. An idle device that has it loaded is given the request, where there is one."""
        if not self.queue or _is_idle_and_warm(self.queue[0], device, others):
            return None
        return _choice(self.queue.popleft(), device, load)


@dataclass(slots=True)
class RoundRobin:
    """People take turns, a request each, at one go. Knows nothing of lanes or what is loaded."""

    queues: dict[Hashable, deque[Waiting]] = field(default_factory=dict)

    def add(self, one: Waiting) -> None:
        """As Policy."""
        self.queues.setdefault(one.owner, deque()).append(_whole(one))

    def take(self, device: DeviceNow, others: Sequence[DeviceNow], load: Load, now: float) -> Choice | None:
        """As Policy: who was served is the last in the ring."""
        if not self.queues:
            return None
        owner, queue = next(iter(self.queues.items()))
        if _is_idle_and_warm(queue[0], device, others):
            return None
        one = queue.popleft()
        del self.queues[owner]
        if queue:
            self.queues[owner] = queue
        return _choice(one, device, load)


@dataclass(slots=True)
class House:
    """The policy of the scheduler, with its bookkeeping."""

    rules: Rules = field(default_factory=Rules)
    line: Line = field(default_factory=Line)
    turns: Turns = field(default_factory=Turns)
    passed: dict[Hashable, float] = field(default_factory=dict)
    credit: dict[Hashable, float] = field(default_factory=dict)

    def add(self, one: Waiting) -> None:
        """As Policy."""
        self.line.add(one)

    def take(self, device: DeviceNow, others: Sequence[DeviceNow], load: Load, now: float) -> Choice | None:
        """As Policy."""
        device = replace(device, credit=self.credit.get(device.name, self.rules.credit_first))
        choice = Chooser(self.line, self.turns, device, load, self.rules, others, self.passed, now).choose()
        if choice is not None:
            self.line.remove(choice.waiting)
            self.turns.charge(choice.waiting.owner, choice.charge)
            self.credit[device.name] = choice.credit
            for one in choice.passed:
                self.passed.setdefault(one.id, now)
        return choice


def _choice(one: Waiting, device: DeviceNow, load: Load) -> Choice:
    return Choice(one, 0.0 if one.checkpoint in device.resident else load(one.checkpoint))


def _whole(one: Waiting) -> Waiting:
    return replace(one, seconds=one.all_seconds, portions=1, pictures=one.pictures * one.portions)


def _is_idle_and_warm(one: Waiting, device: DeviceNow, others: Sequence[DeviceNow]) -> bool:
    """Another device stands idle and has it loaded, this one has not."""
    idle = (other for other in others if other.free_in <= 0)
    return one.checkpoint not in device.resident and any(one.checkpoint in other.resident for other in idle)
