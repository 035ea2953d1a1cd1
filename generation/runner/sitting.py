"""Requests for one checkpoint at one sitting: the room draws them side by side where it can, each has its own end.

The room shall not be idle while a picture is written and told: who may `leave` that does it when the next one is drawn.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from generation.engines.client import Reply, RoomClient
from generation.engines.errors import CanceledError
from generation.engines.fragments import Ended
from generation.engines.talk import Ask
from generation.models import GenerationRequest
from generation.runner.drawing import Drawing
from generation.runner.pulse import Pulse

logger = logging.getLogger(__name__)

Companions = Callable[[int], Sequence[GenerationRequest]]


@dataclass(slots=True)
class Sitting:
    """One sitting. `companions`, told how many pictures are drawn now, gives claimed requests that join.

    `meanwhile` is done once, as soon as the room has something to draw. `may_leave`: what was drawn well when nothing
    else was left to draw is not ended here, but by `settle`.
    """

    room: RoomClient
    pulse: Pulse
    companions: Companions = lambda pictures: ()
    meanwhile: Callable[[], None] | None = None
    may_leave: bool = False
    drawings: list[Drawing] = field(default_factory=list)
    _faults: list[Exception] = field(default_factory=list)  # nobody's outcome, told when all have ended

    def serve(self, request: GenerationRequest) -> None:
        """Draw it, and those who join, to their ends. Raises only what nobody can settle (DatabaseError)."""
        problem: Exception | None = None
        try:
            replies = self.room.generate_together(self._seat([request]), self._newcomers, tick=self._tick)
            with closing(replies):  # here and now: a traceback that is kept would keep the room drawing
                for place, reply in replies:
                    self._tick()
                    self._hand_on(self.drawings[place], reply)
        except Exception as error:  # noqa: BLE001 whatever it is becomes an outcome in the rows
            problem = error
        self._do_meanwhile()
        for drawing in self._open:
            self._end(drawing, problem)
        self._raise_fault()

    def settle(self) -> None:
        """End what was left, and do what is still to be done. Raises what `serve` raises."""
        self._do_meanwhile()
        for drawing in self.drawings:
            if drawing.left and not drawing.ended:
                self._end(drawing, None)
        self._raise_fault()

    @property
    def _open(self) -> list[Drawing]:
        return [drawing for drawing in self.drawings if not (drawing.ended or drawing.left)]

    def _raise_fault(self) -> None:
        faults, self._faults = self._faults, []
        if faults:
            raise faults[0]

    def _do_meanwhile(self) -> None:
        owed, self.meanwhile = self.meanwhile, None
        try:
            if owed is not None:
                owed()
        except Exception as fault:  # of others: what is drawn goes on
            logger.exception("What was left to do was not done")
            self._faults.append(fault)

    def _newcomers(self) -> list[Ask]:
        self._do_meanwhile()
        if self.pulse.leaving:
            return []
        pictures = sum(drawing.request.portion for drawing in self._open)
        try:
            return self._seat(self.companions(pictures))
        except Exception:
            logger.exception("Nobody joins: the next request could not be claimed")
            return []

    def _seat(self, requests: Sequence[GenerationRequest]) -> list[Ask]:
        """What the room is asked; the place of each is that of its drawing. What cannot be asked ends here."""
        asks = []
        for request in requests:
            drawing = Drawing(request, self.pulse)
            try:
                asks.append(drawing.begin())
            except Exception as error:  # noqa: BLE001 it becomes an outcome in the row
                self._end(drawing, error)
            else:
                self.drawings.append(drawing)
        return asks

    def _hand_on(self, drawing: Drawing, reply: Reply | Ended) -> None:
        """A fault of one drawing ends that one: the room is told, and answers with its end."""
        if isinstance(reply, Ended):
            drawing.left = self.may_leave and self._open == [drawing] and drawing.is_well(reply.error)
            if not drawing.left:
                self._end(drawing, reply.error, reply.device_seconds)
        elif drawing.problem is None:
            self._guard(drawing, lambda: drawing.hear(reply))

    def _end(self, drawing: Drawing, error: Exception | None, seconds: float = 0.0) -> None:
        try:
            drawing.end(error, seconds)
        except Exception as fault:
            logger.exception("The end of request %s was not settled", drawing.request.pk)
            self._faults.append(fault)

    def _guard(self, drawing: Drawing, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 it becomes an outcome in the row
            drawing.problem = error
            self.room.cancel(self.drawings.index(drawing))

    def _tick(self) -> None:
        """A sign of progress. Asks now and then whether to go on."""
        self.pulse.touch()
        if self.pulse.stopping:
            self.room.kill()
            raise CanceledError("The worker stops.")
        for drawing in self._open:
            if drawing.problem is None and not drawing.canceled:
                self._guard(drawing, partial(self._look_up, drawing))

    def _look_up(self, drawing: Drawing) -> None:
        drawing.look_up()
        if drawing.canceled:
            self.room.cancel(self.drawings.index(drawing))
