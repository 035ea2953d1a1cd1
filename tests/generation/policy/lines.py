"""Requests that wait, made up for tests of the policy; a device that serves them by it."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from generation.policy.choice import Choice, Chooser, DeviceNow, Rules
from generation.policy.line import Line, Waiting
from generation.policy.turns import Turns

NUMBERS = itertools.count()
RULES = Rules(quantum=10, stay=3, longest_passed=300, in_order=0)
"""Turns alone; the share that goes in the order of asking has its own tests."""


def waiting(owner: str, checkpoint: str = "a", *, seconds: float = 5, at: float = 0, **more: object) -> Waiting:
    """Asked `at` seconds; own order as asked unless `sort_at` says otherwise."""
    values = {"sort_at": at, **more}
    return Waiting(f"{owner}{next(NUMBERS):04}", owner, checkpoint, seconds, at, **values)  # type: ignore[arg-type]


@dataclass
class Server:
    """One device with a clock. `load` is what loading any checkpoint takes."""

    line: Line
    load: float = 10
    rules: Rules = RULES
    device: DeviceNow = field(default_factory=lambda: DeviceNow("one", frozenset(["a"]), drawn=0, credit=1))
    turns: Turns = field(default_factory=Turns)
    now: float = 0
    passed: dict[object, float] = field(default_factory=dict)
    served: list[tuple[float, Choice]] = field(default_factory=list)

    def choose(self) -> Choice | None:
        """The choice, remembered as the scheduler does."""
        chooser = Chooser(
            self.line, self.turns, self.device, lambda _: self.load, self.rules, passed=self.passed, now=self.now
        )
        return chooser.choose()

    def serve(self) -> Waiting | None:
        """Choose, load and draw; time passes."""
        choice = self.choose()
        if choice is None:
            return None
        one = choice.waiting
        for passed in choice.passed:
            self.passed.setdefault(passed.id, self.now)
        self.line.remove(one)
        if (rest := one.rest()) is not None:
            self.line.add(rest)
        self.turns.charge(one.owner, choice.charge)
        self.served.append((self.now + choice.loads, choice))
        self.now += choice.charge
        credit = choice.credit
        resident = frozenset([one.checkpoint]) if choice.loads else self.device.resident
        drawn = one.seconds + (0 if choice.loads else self.device.drawn)
        self.device = replace(self.device, resident=resident, drawn=drawn, credit=credit)
        return one

    def run(self, arrivals: Iterable[Waiting] = (), until: Callable[[], bool] = lambda: False) -> list[Waiting]:
        """Serve all, those who come later too; `until` ends it early. In the order in which they were served."""
        coming, order = sorted(arrivals, key=lambda one: one.asked_at), []
        while not until():
            while coming and coming[0].asked_at <= self.now:
                self.line.add(coming.pop(0))
            if (one := self.serve()) is not None:
                order.append(one)
            elif coming:
                self.now = coming[0].asked_at
            else:
                break
        return order

    @property
    def swaps(self) -> int:
        """How often something was loaded."""
        return sum(1 for _, choice in self.served if choice.loads)

    def began(self, one: Waiting) -> float:
        """When its drawing began."""
        return next(at for at, choice in self.served if choice.waiting.id == one.id)


def served(*those: Waiting, **more: object) -> list[Waiting]:
    """The order in which one device serves them."""
    return Server(Line.of(those), **more).run()  # type: ignore[arg-type]
