"""Deficit round robin between people, in device-seconds, with the rounds counted instead of walked.

Everybody has an account of what was charged to them. The level is the least account of those who wait: it never
falls, and who comes (back) below it joins at it, so idle time is no savings. What somebody is above the level is the
deficit they wait off: after each quantum of it the others have a round first. Within a round it is first come, first
served.

Two numbers a person instead of a ring of queues: they fit into rows, so that several processes agree and a restart
forgets nothing. The same idea is known from fair queueing as virtual time, and from serving language models as the
virtual token counter.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Turns:
    """Accounts of people in device-seconds, and the level."""

    accounts: dict[Hashable, float] = field(default_factory=dict)
    level: float = 0.0

    def account(self, person: Hashable) -> float:
        """What counts of what was charged: never below the level."""
        return max(self.accounts.get(person, 0.0), self.level)

    def round_of(self, person: Hashable, quantum: float) -> int:
        """How many quanta the person is above the level; 0 is served first."""
        return int((self.account(person) - self.level) / quantum)

    def rise(self, waiting: Iterable[Hashable]) -> None:
        """The level follows the least account of those who wait."""
        least = min((self.account(person) for person in waiting), default=self.level)
        self.level = max(self.level, least)

    def charge(self, person: Hashable, seconds: float) -> float:
        """What was handed out to the person is on the account from now on. Returns the account."""
        self.accounts[person] = self.account(person) + seconds
        return self.accounts[person]
