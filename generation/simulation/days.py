"""A made-up day of a team: who asks for what, when. The same seed makes the same day.

People come in sessions, mostly in the late morning and after lunch. Most are light users who look at each picture
before they ask for the next; some draw all day; a few hand in a whole list at once; and some leave work for the night.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from generation.policy.line import Waiting

HOUR = 3600.0
PersonClass = Literal["light", "steady", "heavy", "night"]
CLASSES: tuple[PersonClass, ...] = ("light", "steady", "heavy", "night")


@dataclass(frozen=True, slots=True)
class Weights:
    """A checkpoint: how many gigabytes it takes on a device, seconds to load it, seconds for a picture."""

    name: str
    gigabytes: float
    load: float
    seconds: float
    popularity: float


# Sizes and times as they are usual on one 24 GB card.
SHELF = (
    Weights("quick", 5, 5, 1.5, 0.30),
    Weights("base", 7, 9, 6, 0.28),
    Weights("large", 13, 20, 14, 0.18),
    Weights("words", 15, 14, 18, 0.12),
    Weights("edit", 12, 18, 9, 0.08),
    Weights("huge", 20, 40, 45, 0.04),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A request of the day, and what its drawing will really take."""

    waiting: Waiting
    seconds: float
    kind: str


@dataclass(frozen=True, slots=True)
class Day:
    """Jobs in the order of asking; the checkpoints by name; how many devices of how many gigabytes."""

    jobs: tuple[Job, ...]
    shelf: dict[str, Weights]
    devices: int
    gigabytes: float = 24.0


@dataclass(frozen=True, slots=True)
class Habit:
    """How one kind of person works: sessions a day, requests in one, seconds between two of them."""

    share: float
    sessions: float
    requests: tuple[int, int]
    pause: float


HABITS: dict[PersonClass, Habit] = {
    "light": Habit(0.78, 1.5, (1, 6), 60),
    "steady": Habit(0.14, 5, (4, 15), 45),
    "heavy": Habit(0.05, 1, (40, 120), 0),
    "night": Habit(0.03, 1, (30, 80), 0),
}
# How busy each hour of the day is, from midnight.
HOURS = (0, 0, 0, 0, 0, 0, 1, 3, 8, 10, 12, 10, 5, 8, 12, 11, 8, 5, 2, 1, 1, 0, 0, 0)
BUSY = (8 * HOUR, 18 * HOUR)


def made_up(people: int, devices: int, *, seed: int = 1, load: float = 0.75, shelf: tuple[Weights, ...] = SHELF) -> Day:
    """A day whose drawing of the lane of now takes `load` of what the devices have between 8 and 18 o'clock."""
    chance = Random(seed)  # noqa: S311
    known = {one.name: one for one in shelf}
    wanted, jobs = load * devices * (BUSY[1] - BUSY[0]), list[Job]()
    persons = [(f"{kind}-{number}", kind) for kind in CLASSES for number in range(_many(people, HABITS[kind].share))]
    shelves = {person: _favourites(chance, shelf) for person, _ in persons}
    total = 0.0
    while total < wanted:
        person, kind = chance.choice(persons)
        for job in _session(chance, person, kind, shelves[person], known, len(jobs)):
            jobs.append(job)
            total += job.seconds * (kind != "night")
            if total >= wanted:
                break
    jobs.sort(key=lambda job: job.waiting.asked_at)
    return Day(tuple(jobs), known, devices)


def _many(people: int, share: float) -> int:
    return max(1, round(people * share))


def _favourites(chance: Random, shelf: tuple[Weights, ...]) -> tuple[str, ...]:
    """What somebody draws with: mostly the first."""
    names, popular = [one.name for one in shelf], [one.popularity for one in shelf]
    return tuple(chance.choices(names, popular, k=3))


def _session(
    chance: Random, person: str, kind: PersonClass, names: tuple[str, ...], known: dict[str, Weights], number: int
) -> Iterator[Job]:
    habit = HABITS[kind]
    at = _moment(chance) if kind != "night" else 17 * HOUR + chance.random() * 2 * HOUR
    checkpoint = chance.choices(names, (0.7, 0.2, 0.1))[0]
    for index in range(chance.randint(*habit.requests)):
        if kind != "heavy" and chance.random() < 0.1:
            checkpoint = chance.choice(names)
        pictures = chance.choice((1, 1, 1, 2, 4))
        foretold = known[checkpoint].seconds * pictures * chance.choice((0.5, 1, 1, 1, 2))
        portions = pictures if kind == "night" else 1
        one = Waiting(
            f"{number:06}-{index:03}",
            person,
            checkpoint,
            foretold / portions,
            at,
            at,
            overnight=kind == "night",
            pictures=pictures // portions,
            portions=portions,
        )
        yield Job(one, foretold * math.exp(chance.gauss(0, 0.15)), kind)
        at += chance.expovariate(1 / habit.pause) if habit.pause else 0.5


def _moment(chance: Random) -> float:
    return (chance.choices(range(24), HOURS)[0] + chance.random()) * HOUR


def without_seconds(day: Day) -> Day:
    """The same day, of which the policy is told nothing but that every request is alike."""
    mean = sum(job.seconds for job in day.jobs) / max(len(day.jobs), 1)
    return replace(day, jobs=tuple(replace(job, waiting=replace(job.waiting, seconds=mean)) for job in day.jobs))
