"""Plays the queue forward with the very policy that will be used: in which order, and when, everybody is served."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from generation.policy.choice import Chooser, DeviceNow, Rules
from generation.policy.line import Line, Waiting
from generation.policy.turns import Turns

EXACT = 100
"""So many are played one by one; those behind them are put in order by their accounts, which costs much less."""

LoadOn = Callable[[Hashable, str], float]
"""Seconds that loading a checkpoint takes on a device."""


@dataclass(frozen=True, slots=True)
class Served:
    """When a request is served, in seconds from now, if all goes as foretold and nobody else comes.

    Its place is that of its first portion, the times are those of its last.
    """

    id: Hashable
    place: int
    starts: float
    loads: float
    device: Hashable = None
    """Its name; None when that is not known."""


@dataclass(slots=True)
class Outlook:
    """Of everybody in `line`. Consumes `line` and `turns`."""

    line: Line
    turns: Turns
    devices: Sequence[DeviceNow]
    load: LoadOn
    rules: Rules

    def play(self) -> dict[Hashable, Served]:
        """By request. Who can be drawn on no device is left out."""
        found: dict[Hashable, Served] = {}
        clocks = {device.name: device for device in self.devices}
        for _ in range(EXACT):
            served = self._next(clocks)
            if served is None:
                break
            place = found[served.id].place if served.id in found else len(found) + 1
            found[served.id] = replace(served, place=place)
        self._rest(clocks, found)
        return found

    def _next(self, clocks: dict[Hashable, DeviceNow]) -> Served | None:
        for device in sorted(clocks.values(), key=lambda one: one.free_in):
            choice = self._chooser(device, clocks).choose()
            if choice is not None:
                break
        else:
            return None
        one = choice.waiting
        self.line.remove(one)
        if (rest := one.rest()) is not None:
            self.line.add(rest)
        self.turns.charge(one.owner, choice.charge)
        resident = frozenset([one.checkpoint]) if choice.loads else device.resident
        drawn = one.seconds if choice.loads else device.drawn + one.seconds
        free_in = device.free_in + choice.charge
        clocks[device.name] = replace(device, resident=resident, drawn=drawn, free_in=free_in, credit=choice.credit)
        return Served(one.id, 0, device.free_in, choice.loads, device.name)

    def _chooser(self, device: DeviceNow, clocks: Mapping[Hashable, DeviceNow]) -> Chooser:
        others = [
            replace(other, free_in=other.free_in - device.free_in)
            for other in clocks.values()
            if other.name != device.name
        ]
        return Chooser(
            self.line, self.turns, device, lambda name: self.load(device.name, name), self.rules, others=others
        )

    def _rest(self, clocks: dict[Hashable, DeviceNow], found: dict[Hashable, Served]) -> None:
        """The order of the rounds, without swaps, shared among all devices."""
        if not clocks:
            return
        free = sum(device.free_in for device in clocks.values()) / len(clocks)
        for one in in_rounds(self.line, self.turns):
            if any(device.can(one) for device in clocks.values()):
                place = found[one.id].place if one.id in found else len(found) + 1
                free += one.all_seconds / len(clocks)
                found[one.id] = Served(one.id, place, free - one.seconds / len(clocks), 0.0)


def in_rounds(line: Line, turns: Turns) -> list[Waiting]:
    """Everybody by lane and account, each request counted on top of the owner's earlier ones."""
    accounts = Turns(dict(turns.accounts), turns.level)
    result: list[Waiting] = []
    for lane in line.lanes:
        keys = list[tuple[float, float, Any, Waiting]]()
        for one in sorted(lane, key=lambda one: one.own_order):
            keys.append((accounts.account(one.owner), one.asked_at, one.id, one))
            accounts.charge(one.owner, one.all_seconds)
        result += [one for *_, one in sorted(keys, key=lambda key: key[:3])]
    return result


def copied(line: Line, turns: Turns) -> tuple[Line, Turns]:
    """To play with, while the original goes on."""
    return Line.of(line), deepcopy(turns)
