"""One conversation of a client with its room: the wishes it is about, and how long the client will wait. No torch."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generation.engines.errors import CanceledError, RoomStalledError
from generation.engines.fragments import Step
from generation.engines.params import CheckpointSpec, GenerationParams

if TYPE_CHECKING:
    from generation.engines.client import RoomSettings

TICK_SECONDS = 0.25

Tick = Callable[[], None]
Stepped = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """One of the wishes of a conversation. `stepped` is called at most once a second with how far a picture is."""

    spec: CheckpointSpec
    params: GenerationParams
    stepped: Stepped | None = None


@dataclass(slots=True, eq=False)
class Said:
    """A wish that was sent to the room. `over`: the room gave its last answer."""

    number: int
    stepped: Stepped | None = None
    canceled: bool = False  # set by any thread
    over: bool = False
    told: bool = False  # that it is canceled
    until: float | None = None  # when the room must have obeyed


@dataclass(slots=True, eq=False)
class Talk:
    """Watches the clock; `tick` is called now and then. `said`: its wishes in their order."""

    settings: "RoomSettings"
    tick: Tick | None
    said: list[Said] = field(default_factory=list)
    canceled: bool = False  # all of it, set by any thread, perhaps before anything was said
    hopeless: bool = False  # waiting longer makes no sense
    _ticked: float = 0.0
    _limit: float = 0.0
    _deadline: float = 0.0

    def __post_init__(self) -> None:
        self.progress(self.settings.load_seconds)

    @property
    def open(self) -> list[Said]:
        """Those that wait for an answer."""
        return [one for one in self.said if not one.over]

    def cancel(self, place: int | None) -> None:
        """One of its wishes, or all."""
        if place is None:
            self.canceled = True
        for one in self.said if place is None else self.said[place : place + 1]:
            one.canceled = True

    def find(self, number: int) -> Said | None:
        """The open wish of that number."""
        return next((one for one in self.said if one.number == number and not one.over), None)

    def progress(self, limit: float | None = None) -> None:
        """Something came; the next sign may take `limit` seconds, or as long as before."""
        self._limit = limit or self._limit
        self._deadline = time.monotonic() + self._limit

    def check(self) -> None:
        """Call often. Raises CanceledError or RoomStalledError when patience has ended, and what `tick` raises."""
        now = time.monotonic()
        if self.tick is not None and now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self.tick()
        for one in self.said:
            one.canceled |= self.canceled
            if one.canceled and one.until is None:  # from now on the room has so long to obey
                one.until = now + self.settings.cancel_seconds
            if one.until is not None and now > one.until and not one.over:
                self.hopeless = True
                raise CanceledError("Canceled; the engine room did not stop by itself and was ended.")
        if now > self._deadline:
            self.hopeless = True
            raise RoomStalledError(
                f"The engine room gave no sign of progress for {self._limit:g} seconds and was ended.",
                hint="Try again; if it happens often, use a smaller size or raise TESSERA_STALL_SECONDS.",
            )
