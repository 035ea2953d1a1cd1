"""The door to the engine room, for those that must not load torch: the queue's worker and `manage.py generate`.

Keeps one room alive between wishes. A crash, a hang or a kill fails the one wish; the next gets a fresh room.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Self

from generation.engines.child import Child
from generation.engines.errors import CanceledError, EngineError, InvalidParamsError, RoomStalledError
from generation.engines.fragments import LOADED, LOADING, Note, Step, Words
from generation.engines.limits import CREEP_LIMIT, NO_LIMITS, Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import (
    FRAME_LIMIT,
    EncodedFragment,
    Figures,
    Frame,
    Message,
    ProtocolError,
    RoomStatus,
    error_of,
    join_parts,
    note_of,
    step_of,
    words_of,
)

TICK_SECONDS = 0.25
MEGABYTE = 1024 * 1024

Tick = Callable[[], None]
Stepped = Callable[[Step], None]
Reply = EncodedFragment | Words | Note | Figures


class RoomBusyError(EngineError):
    """The room works for another thread of this process."""

    code = "room_busy"
    retryable = True


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """How a room is run. A wish is stalled after `stall_seconds` without progress, `load_seconds` while it loads.

    After `recycle_after` wishes it is due for a new process, or when it has grown by `creep_limit` bytes; 0 is never.
    """

    device: str = "auto"
    threads: int = 0
    stall_seconds: float = 120.0
    load_seconds: float = 600.0
    cancel_seconds: float = 5.0
    log_level: str = "INFO"
    limits: Limits = NO_LIMITS
    recycle_after: int = 0
    creep_limit: int = CREEP_LIMIT


class _Patience:
    """Watches the clock and the wish to cancel for one conversation; `tick` is called now and then."""

    def __init__(self, settings: RoomSettings, tick: Tick | None, stepped: Stepped | None = None) -> None:
        self.stepped = stepped
        self.canceled = False  # set by any thread
        self.hopeless = False  # waiting longer makes no sense
        self.over = False  # the room gave its last answer
        self._settings = settings
        self._tick = tick
        self._ticked = 0.0
        self._told = False
        self._cancel_until: float | None = None
        self._limit = settings.load_seconds
        self.progress()

    def progress(self, limit: float | None = None) -> None:
        """Something came; the next sign may take `limit` seconds, or as long as before."""
        self._limit = limit or self._limit
        self._deadline = time.monotonic() + self._limit

    def tell_cancel(self, say: Callable[[], None]) -> None:
        """Once."""
        if self.canceled and not self._told:
            self._told = True
            say()

    def check(self) -> None:
        """Call often. Raises CanceledError or RoomStalledError when patience has ended, and what `tick` raises."""
        now = time.monotonic()
        if self._tick is not None and now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self._tick()
        if self.canceled and self._cancel_until is None:  # from now on the room has so long to obey
            self._cancel_until = now + self._settings.cancel_seconds
        if self._cancel_until is not None and now > self._cancel_until:
            self.hopeless = True
            raise CanceledError("Canceled; the engine room did not stop by itself and was ended.")
        if now > self._deadline:
            self.hopeless = True
            raise RoomStalledError(
                f"The engine room gave no sign of progress for {self._limit:g} seconds and was ended.",
                hint="Try again; if it happens often, use a smaller size or raise TESSERA_STALL_SECONDS.",
            )


class RoomClient:
    """One engine room and the one conversation with it. Every method may be called from any thread."""

    def __init__(self, settings: RoomSettings) -> None:
        self.settings = settings
        self.recycles = 0
        self._child: Child | None = None
        self._patience: _Patience | None = None
        self._turn = Lock()
        self._numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, tick: Tick | None = None) -> RoomStatus:
        """Open a room unless one is open; returns when it is ready. Raises DeviceError, RoomError."""
        if status := self.status():
            return status
        patience = _Patience(self.settings, tick)
        with self._my_turn(patience):
            child = self._open(patience)
        if child.status is None:
            raise child.death()
        return child.status

    def generate(
        self,
        spec: CheckpointSpec,
        params: GenerationParams,
        *,
        tick: Tick | None = None,
        stepped: Stepped | None = None,
    ) -> Iterator[Reply]:
        """Notes and fragments as they come, finals among them, or words; the figures last. Raises EngineError.

        `tick` is called at least twice a second while waiting, `stepped` at most once a second with how far a picture
        is; what they raise ends the wish. Leaving the iterator early cancels.
        """
        parts, body = join_parts([params.source, params.mask])
        if len(body) > FRAME_LIMIT:
            raise InvalidParamsError(
                f"The picture to start from has {len(body) // MEGABYTE} MB; {FRAME_LIMIT // MEGABYTE} MB is the most.",
                hint="Hand in a smaller one.",
            )
        header = {"spec": asdict(spec), "params": params.to_header(), "parts": parts}
        frame = Frame(Message.GENERATE, next(self._numbers), header, body)
        return self._converse(_Patience(self.settings, tick, stepped), frame)

    def cancel(self) -> None:
        """Stop what is drawn now, if anything is. The room has `cancel_seconds` to obey before it is killed."""
        if patience := self._patience:
            patience.canceled = True

    def kill(self) -> None:
        """End the room at once; a wish in it fails with RoomError."""
        if child := self._child:
            child.kill()

    def status(self) -> RoomStatus | None:
        """Last known; None while no room is open."""
        child = self._child
        return child.status if child is not None and child.alive else None

    def unload(self) -> None:
        """Forget every loaded checkpoint; the room stays. Raises RoomBusyError while it draws."""
        if self.status() is not None:
            frame = Frame(Message.UNLOAD, next(self._numbers))
            for _ in self._converse(_Patience(self.settings, None), frame):
                pass

    def recycle(self) -> str:
        """Close the room if it is due, between two wishes; why, else nothing. The next wish gets a fresh one."""
        status = self.status()
        ledger = status.ledger if status is not None else {}
        creep, wishes = int(ledger.get("creep", 0)), int(ledger.get("wishes", 0))
        reason = ""
        if 0 < self.settings.creep_limit < creep:
            reason = f"its memory had grown by {creep // MEGABYTE} MB"
        elif 0 < self.settings.recycle_after <= wishes:
            reason = f"it had drawn {wishes} times"
        if reason:
            self.recycles += 1
            self.close()
        return reason

    def close(self) -> None:
        """Let the room go and wait until it has gone."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _converse(self, patience: _Patience, frame: Frame) -> Iterator[Reply]:
        with self._my_turn(patience):
            child = self._open(patience)
            try:
                self._say(child, frame, patience)
                yield from self._replies(child, frame.number, patience)
            finally:
                self._part(child, frame.number, patience)

    @contextmanager
    def _my_turn(self, patience: _Patience) -> Iterator[None]:
        if not self._turn.acquire(blocking=False):
            raise RoomBusyError("The engine room works for somebody else.", hint="Wait until it has finished.")
        self._patience = patience  # not earlier: who is refused must not take the cancel of who is drawing
        try:
            yield
        finally:
            self._patience = None
            self._turn.release()

    def _open(self, patience: _Patience) -> Child:
        child = self._child
        if child is None or not child.alive:
            settings = self.settings
            child = Child(
                device=settings.device, threads=settings.threads, log_level=settings.log_level, limits=settings.limits
            )
            self._child = child
        try:
            while not child.wait_ready(TICK_SECONDS):
                patience.check()
                if patience.canceled:
                    raise CanceledError("Canceled.")
        except RoomStalledError:
            child.kill()
            raise
        patience.progress(self.settings.stall_seconds)
        return child

    def _say(self, child: Child, frame: Frame, patience: _Patience) -> None:
        patience.hopeless = True  # as long as half a frame is on its way, nothing else can be said
        try:
            child.channel.send(frame, waiting=patience.check)
        except OSError as error:
            raise child.death() from error
        patience.hopeless = False

    def _replies(self, child: Child, number: int, patience: _Patience) -> Iterator[Reply]:
        """Raises ProtocolError when an answer cannot be read; then the room cannot be trusted with another wish."""
        try:
            yield from self._listen(child, number, patience)
        except ProtocolError:
            patience.hopeless, patience.over = True, False
            raise

    def _listen(self, child: Child, number: int, patience: _Patience) -> Iterator[Reply]:
        while True:
            patience.tell_cancel(lambda: child.say(Frame(Message.CANCEL, number)))
            frame = child.next_frame(TICK_SECONDS)
            patience.over = (
                frame is not None and frame.number == number and frame.type in (Message.DONE, Message.FAILED)
            )
            if frame is not None and frame.number == number:
                patience.progress()
                if patience.over and patience.canceled:
                    raise CanceledError("Canceled.")
                if not patience.canceled and (reply := self._reply(frame, patience)) is not None:
                    yield reply
                    patience.progress()  # what the consumer did meanwhile is not the room's fault
                if patience.over:
                    return
            patience.check()

    def _reply(self, frame: Frame, patience: _Patience) -> Reply | None:
        if frame.type is Message.EVENT:
            return EncodedFragment.from_frame(frame)
        if frame.type is Message.WORDS:
            return words_of(frame)
        if frame.type is Message.FAILED:
            raise error_of(frame)
        if frame.type is Message.DONE:
            return Figures.from_frame(frame) if frame.header else None
        if frame.type is Message.STEP:
            step = step_of(frame)
            return None if patience.stepped is None else patience.stepped(step)
        note = note_of(frame)
        if note.kind in (LOADING, LOADED):
            settings = self.settings
            patience.progress(settings.load_seconds if note.kind == LOADING else settings.stall_seconds)
        return note

    def _part(self, child: Child, number: int, patience: _Patience) -> None:
        """Leave the room ready for the next conversation, or dead."""
        if patience.over or not child.alive:
            return
        until = time.monotonic() + (0 if patience.hopeless else self.settings.cancel_seconds)
        child.say(Frame(Message.CANCEL, number))
        with suppress(EngineError):
            while time.monotonic() < until:
                frame = child.next_frame(TICK_SECONDS)
                if frame and frame.number == number and frame.type in (Message.DONE, Message.FAILED):
                    return
        child.kill()
