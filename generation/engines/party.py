"""Wishes for one checkpoint that are drawn side by side: a party that others may join, each with an end of its own.

What fails for one of them, and for all when memory runs out or the engine crashes, is tried again alone, down its own
ladder.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from generation.engines.attempts import MENDABLE, Attempts, ran_out
from generation.engines.base import DrawsTogether, Engine, Item, Wish
from generation.engines.errors import DeviceMemoryError, EngineError, forget_trace
from generation.engines.fragments import Ended
from generation.engines.inspection import inspect_checkpoint
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EngineCrashedError

logger = logging.getLogger(__name__)

Ask = Callable[[], Sequence[Attempts]]
Told = tuple[Attempts, Item | Ended]


def may_join(
    memory: MemoryManager,
    first: Attempts,
    spec: CheckpointSpec,
    params: GenerationParams,
    others: Iterable[GenerationParams] = (),
) -> bool:
    """Whether a wish can be drawn beside the `others`, as the first of them is."""
    same = spec == first.spec and spec.precision == first.spec.precision
    draws = params.capability != "describe" and not params.codes
    able = same and draws and not first.plan.uses("single")
    return able and memory.has_room_beside(spec, first.plan, params, others)


@dataclass(slots=True)
class Party:
    """One party. `newcomers` gives those who join; asked as long as somebody is drawn for."""

    memory: MemoryManager
    newcomers: Ask = tuple
    guests: dict[int, Attempts] = field(default_factory=dict)  # by number, those who are drawn side by side now
    _came: int = 0
    _alone: deque[Attempts] = field(default_factory=deque)

    def run(self, first: Attempts) -> Iterator[Told]:
        """Items with the one they are for, Ended as the last of each."""
        try:
            together = _draws_together(first)
            first.begin()
        except EngineError as error:
            yield first, Ended(forget_trace(error))
            return
        if together:
            yield from self._side_by_side(first)
        else:
            self._alone.append(first)
        while self._alone:
            yield from _by_itself(self._alone.popleft())

    def _side_by_side(self, first: Attempts) -> Iterator[Told]:
        """Every retry stands outside the `except`, as in `Attempts`."""
        self._admit([first])
        failure: EngineError | None = None
        try:
            with self.memory.acquire(first.spec, first.plan, need=first.need) as engine:
                yield from self._draw(engine, first)
        except EngineError as error:
            failure = forget_trace(error)
        except MemoryError:
            failure = ran_out(first.spec)
        except Exception as error:
            logger.exception("The engine of %s crashed", first.spec.name)
            failure = EngineCrashedError.of(error)
        if failure is not None:
            yield from self._break_up(failure)

    def _draw(self, engine: Engine, first: Attempts) -> Iterator[Told]:
        assert isinstance(engine, DrawsTogether)  # noqa: S101 the facts said so
        for number, item in engine.generate_many([(first.params, first.cancel)], lambda: self._join(first)):
            guest = self.guests.get(number)
            if guest is None:
                continue
            if isinstance(item, Ended):
                yield from self._see_off(number, item.error)
                continue
            try:
                shown = guest.take(item)
            except MENDABLE as error:
                yield from self._see_off(number, forget_trace(error))
            else:
                yield guest, shown

    def _join(self, first: Attempts) -> list[Wish]:
        fresh = list(self.newcomers())
        for guest in fresh:
            guest.plan = first.plan
        self._admit(fresh)
        return [(guest.params, guest.cancel) for guest in fresh]

    def _admit(self, fresh: Sequence[Attempts]) -> None:
        """Numbered on. Those who have gone are not kept: they may have handed in large pictures."""
        for guest in fresh:
            self.guests[self._came] = guest
            self._came += 1

    def _see_off(self, number: int, error: EngineError | None) -> Iterator[Told]:
        """One is done with here."""
        guest = self.guests.pop(number)
        if error is None:
            self.memory.remember(guest.spec, guest.plan)
        if isinstance(error, MENDABLE):
            guest.failure = error
            self._alone.append(guest)
        else:
            yield guest, Ended(error)

    def _break_up(self, failure: EngineError) -> Iterator[Told]:
        """It ended for all. Of several each may have enough memory alone, and only one may be what crashed."""
        if isinstance(failure, EngineCrashedError):
            self.memory.device.purge()  # raises what ends the room when the device is in doubt
        crowd = isinstance(failure, DeviceMemoryError | EngineCrashedError) and len(self.guests) > 1
        for number in list(self.guests):
            if crowd:
                self._alone.append(self.guests.pop(number))
            else:
                yield from self._see_off(number, failure)


def _draws_together(guest: Attempts) -> bool:
    draws = guest.params.capability != "describe" and not guest.params.codes
    return draws and inspect_checkpoint(guest.spec.path).together


def _by_itself(guest: Attempts) -> Iterator[Told]:
    end = Ended()
    try:
        guest.cancel.raise_if_canceled()
        for item in guest.go_on():
            yield guest, item
    except EngineError as error:
        end = Ended(forget_trace(error))
    except Exception as error:
        logger.exception("The engine of %s crashed", guest.spec.name)
        end = Ended(EngineCrashedError.of(error))
    yield guest, end
