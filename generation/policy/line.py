"""Everybody who waits, kept so that the next few are found without looking at all: by person, then by checkpoint."""

from bisect import insort
from collections.abc import Collection, Container, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits, as far as the policy cares. Times are seconds of any one clock."""

    id: Any
    """Of one kind that can be compared, in one line."""
    owner: Hashable
    checkpoint: str
    seconds: float
    """Device-seconds that drawing it is foretold to take."""
    asked_at: float
    sort_at: float
    """One's own requests go by it; among people only `asked_at` counts, so nobody gains by sorting."""
    overnight: bool = False
    promoted_at: float | None = None
    pictures: int = 1
    portions: int = 1
    """It is drawn in so many, and others have their turn between them; `seconds` and `pictures` are of one."""
    alone: bool = False
    """It is never drawn beside others."""

    @property
    def all_seconds(self) -> float:
        """Of all its portions."""
        return self.seconds * self.portions

    def rest(self) -> "Waiting | None":
        """What waits on once a portion of it is drawn."""
        return replace(self, portions=self.portions - 1) if self.portions > 1 else None

    @property
    def own_order(self) -> tuple[float, float, Any]:
        """Of its owner's."""
        return (self.sort_at, self.asked_at, self.id)


Queue = list[tuple[tuple[float, float, Any], Waiting]]


@dataclass(slots=True)
class Lane:
    """Queues of one lane: of each person, for each checkpoint, in the person's order."""

    people: dict[Hashable, dict[str, Queue]] = field(default_factory=dict)

    def add(self, one: Waiting) -> None:
        """Somebody comes."""
        insort(self.people.setdefault(one.owner, {}).setdefault(one.checkpoint, []), (one.own_order, one))

    def remove(self, one: Waiting) -> None:
        """Somebody goes."""
        queues = self.people[one.owner]
        queue = queues[one.checkpoint]
        queue.remove((one.own_order, one))
        if not queue:
            del queues[one.checkpoint]
        if not queues:
            del self.people[one.owner]

    def first_of(
        self, person: Hashable, checkpoints: Container[str] | None, skipped: Collection[Hashable]
    ) -> Waiting | None:
        """The person's first for one of these checkpoints (any, if None) that is not skipped."""
        found: tuple[tuple[float, float, Any], Waiting] | None = None
        for checkpoint, queue in self.people[person].items():
            if checkpoints is not None and checkpoint not in checkpoints:
                continue
            entry = queue[0] if not skipped else next((entry for entry in queue if entry[1].id not in skipped), None)
            if entry is not None and (found is None or entry[0] < found[0]):
                found = entry
        return found[1] if found else None

    def __iter__(self) -> Iterator[Waiting]:
        for queues in self.people.values():
            for queue in queues.values():
                yield from (one for _, one in queue)


@dataclass(slots=True)
class Line:
    """Both lanes, and before them who was promoted."""

    now: Lane = field(default_factory=Lane)
    overnight: Lane = field(default_factory=Lane)
    promoted: dict[Hashable, Waiting] = field(default_factory=dict)

    @classmethod
    def of(cls, waiting: Iterable[Waiting]) -> "Line":
        """Sort them in."""
        line = cls()
        for one in waiting:
            line.add(one)
        return line

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """The one that is served first, first."""
        return (self.now, self.overnight)

    def add(self, one: Waiting) -> None:
        """Somebody comes."""
        if one.promoted_at is not None:
            self.promoted[one.id] = one
        else:
            (self.overnight if one.overnight else self.now).add(one)

    def remove(self, one: Waiting) -> None:
        """Somebody is served or goes."""
        if self.promoted.pop(one.id, None) is None:
            (self.overnight if one.overnight else self.now).remove(one)

    def __iter__(self) -> Iterator[Waiting]:
        yield from self.promoted.values()
        yield from self.now
        yield from self.overnight

    def __bool__(self) -> bool:
        return bool(self.promoted or self.now.people or self.overnight.people)
