"""Plays a day through a policy: devices draw, load and evict, people wait."""

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from generation.policy.choice import DeviceNow
from generation.policy.line import Waiting
from generation.simulation.days import Day, Job
from generation.simulation.rivals import Policy


@dataclass(slots=True)
class Card:
    """A device with so many gigabytes; what was used longest ago goes first when room is needed."""

    name: int
    gigabytes: float
    held: OrderedDict[str, float] = field(default_factory=OrderedDict)
    free_at: float = 0.0
    drawn: float = 0.0

    def use(self, checkpoint: str, gigabytes: float) -> None:
        """It is loaded and was used last."""
        self.held[checkpoint] = gigabytes
        self.held.move_to_end(checkpoint)
        while sum(self.held.values()) > self.gigabytes and len(self.held) > 1:
            self.held.popitem(last=False)

    def at(self, now: float) -> DeviceNow:
        """As the policy sees it."""
        return DeviceNow(self.name, frozenset(self.held), None, max(self.free_at - now, 0.0), self.drawn)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a device took at one go, a request or a portion of one: asked, taken, drawing from `began` to `ended`;
    `passed`: for how long it was overtaken because it was not loaded, all in seconds."""

    job: Job
    taken: float
    began: float
    ended: float
    loads: float
    passed: float
    last: bool = True
    """Nothing of the request is left."""

    @property
    def seconds(self) -> float:
        """Of drawing."""
        return self.ended - self.began

    @property
    def wait(self) -> float:
        """Until this begins to be drawn, loading included."""
        return self.began - self.job.waiting.asked_at


def play(day: Day, policy: Policy) -> list[Drawn]:
    """Everybody's requests and portions, in the order in which they were taken."""
    return list(_Play(day, policy).run())


@dataclass(slots=True)
class _Play:
    day: Day
    policy: Policy
    cards: list[Card] = field(init=False)
    jobs: dict[object, Job] = field(init=False)
    passed: dict[object, tuple[float, float]] = field(default_factory=dict)
    rests: list[tuple[float, object, Waiting]] = field(default_factory=list)
    """What waits again once the portion before it is drawn, and when; a heap."""

    def __post_init__(self) -> None:
        self.cards = [Card(number, self.day.gigabytes) for number in range(self.day.devices)]
        self.jobs = {job.waiting.id: job for job in self.day.jobs}

    def run(self) -> Iterator[Drawn]:
        coming, waits = 0, 0
        events = [job.waiting.asked_at for job in self.day.jobs]
        heapq.heapify(events)
        while events:
            now = heapq.heappop(events)
            while coming < len(self.day.jobs) and self.day.jobs[coming].waiting.asked_at <= now:
                self.policy.add(self.day.jobs[coming].waiting)
                coming, waits = coming + 1, waits + 1
            while self.rests and self.rests[0][0] <= now:
                self.policy.add(heapq.heappop(self.rests)[2])
                waits += 1
            for drawn in self._hand_out(now) if waits else ():
                waits -= 1
                heapq.heappush(events, drawn.ended)
                yield drawn

    def _hand_out(self, now: float) -> Iterator[Drawn]:
        """Every idle device asks, until none is given anything."""
        busy = False
        while not busy:
            busy = True
            for card in self.cards:
                if card.free_at <= now and (drawn := self._take(card, now)) is not None:
                    busy = False
                    yield drawn

    def _take(self, card: Card, now: float) -> Drawn | None:
        others: Sequence[DeviceNow] = [other.at(now) for other in self.cards if other is not card]
        choice = self.policy.take(card.at(now), others, lambda name: self.day.shelf[name].load, now)
        if choice is None:
            return None
        one = choice.waiting
        job, weights, rest = self.jobs[one.id], self.day.shelf[one.checkpoint], one.rest()
        seconds = job.seconds * one.seconds / job.waiting.all_seconds
        loads = 0.0 if weights.name in card.held else weights.load
        card.use(weights.name, weights.gigabytes)
        card.drawn = seconds + (0.0 if loads else card.drawn)
        card.free_at = now + loads + seconds
        for other in choice.passed:
            self._pass(other.id, now, card.free_at)
        if rest is not None:
            heapq.heappush(self.rests, (card.free_at, one.id, rest))
        passed, _ = self.passed.get(one.id, (0.0, 0.0))
        return Drawn(job, now, now + loads, card.free_at, loads, passed, rest is None)

    def _pass(self, pk: object, begin: float, end: float) -> None:
        """It is passed over from `begin` to `end`; time that several devices do so counts once."""
        seconds, until = self.passed.get(pk, (0.0, 0.0))
        self.passed[pk] = (seconds + max(end - max(begin, until), 0.0), max(end, until))
