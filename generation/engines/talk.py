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
    from generation.engines.protocol import Frame

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
    """A wish of a conversation, and its place there. `over`: nothing more will be told of it."""

    frame: "Frame | None"
    place: int
    stepped: Stepped | None = None
    over: bool = False
    told: bool = False  # the room, that it is canceled

    @property
    def number(self) -> int:
        """Under which it was sent; 0 if it was not."""
        return self.frame.number if self.frame else 0


@dataclass(slots=True, eq=False)
class Talk:
    """Watches the clock; `tick` is called now and then. `said`: its wishes in their order."""

    settings: "RoomSettings"
    tick: Tick | None
    said: list[Said] = field(default_factory=list)
    canceled: bool = False  # all of it, set by any thread, perhaps before anything was said
    hopeless: bool = False  # waiting longer makes no sense
    heard: bool = False  # the room has said something of a wish
    _unwanted: set[int] = field(
        default_factory=set
    )  # places that are canceled, by any thread, perhaps before they exist
    _until: float | None = None  # when the room must have obeyed
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
        else:
            self._unwanted.add(place)

    def is_canceled(self, place: int) -> bool:
        """Whether the wish of this place, said already or not, is not wanted any more."""
        return self.canceled or place in self._unwanted

    def say(self, frame: "Frame", stepped: Stepped | None = None) -> None:
        """The next place is that of a wish which is sent in this frame."""
        self.said.append(Said(frame, len(self.said), stepped))

    def pass_over(self) -> int:
        """The next place is that of a wish which is not sent at all; the place."""
        self.said.append(Said(None, len(self.said), over=True))
        return self.said[-1].place

    @property
    def is_unheard(self) -> bool:
        """Whether every wish was sent and waits, and the room has not said a word of any."""
        wanted = not (self.heard or self.canceled or self._unwanted)
        return wanted and bool(self.said) and self.open == self.said

    def begin_anew(self) -> "list[tuple[Frame, Stepped | None]]":
        """All that was said, to be said again in the same order."""
        sent = [(one.frame, one.stepped) for one in self.said if one.frame]
        self.said, self.hopeless = [], False
        return sent

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
        if self._is_disobeyed(now):
            self.hopeless = True
            raise CanceledError("Canceled; the engine room did not stop by itself and was ended.")
        if now > self._deadline:
            self.hopeless = True
            raise RoomStalledError(
                f"The engine room gave no sign of progress for {self._limit:g} seconds and was ended.",
                hint="Try again; if it happens often, use a smaller size or raise TESSERA_STALL_SECONDS.",
            )

    def _is_disobeyed(self, now: float) -> bool:
        """Whether the room does not stop what nobody wants. As long as somebody wants the rest, it has time."""
        left = self.open
        if not left or not all(self.is_canceled(one.place) for one in left):
            self._until = None
        elif self._until is None:
            self._until = now + self.settings.cancel_seconds
        return self._until is not None and now > self._until
