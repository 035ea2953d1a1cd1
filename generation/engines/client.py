"""The door to the engine room, for those that must not load torch: the queue's worker and `manage.py generate`.

Keeps one room alive between wishes. A crash, a hang or a kill fails the one wish; the next gets a fresh room.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Self

from generation.engines.child import Child
from generation.engines.errors import CanceledError, EngineError, InvalidParamsError, RoomError, RoomStalledError
from generation.engines.fragments import LOADED, LOADING, Ended, Note, Words
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
    seconds_of,
    step_of,
    words_of,
)
from generation.engines.talk import TICK_SECONDS, Ask, Said, Stepped, Talk, Tick

logger = logging.getLogger(__name__)

MEGABYTE = 1024 * 1024

Reply = EncodedFragment | Words | Note | Figures


class RoomBusyError(EngineError):
    """The room works for another thread of this process."""

    code = "room_busy"
    retryable = True


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """How a room is run. A wish is stalled after `stall_seconds` without progress, `load_seconds` while it loads.

    On a CPU it gives way to other processes by `nice` (as the system counts, 0 to 19).

    After `recycle_after` wishes it is due for a new process, or when it has grown by `creep_limit` bytes; 0 is never.
    """

    device: str = "auto"
    threads: int = 0
    nice: int = 0
    stall_seconds: float = 120.0
    load_seconds: float = 600.0
    cancel_seconds: float = 5.0
    log_level: str = "INFO"
    limits: Limits = NO_LIMITS
    recycle_after: int = 0
    creep_limit: int = CREEP_LIMIT


class RoomClient:
    """One engine room and the one conversation with it. Every method may be called from any thread."""

    def __init__(self, settings: RoomSettings) -> None:
        self.settings = settings
        self.recycles = 0
        self._child: Child | None = None
        self._talk: Talk | None = None
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
        talk = Talk(self.settings, tick)
        with self._my_turn(talk):
            child = self._open(talk)
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
        return _one(self.generate_together([Ask(spec, params, stepped)], tick=tick))

    def generate_together(
        self, asks: Sequence[Ask], newcomers: Callable[[], Sequence[Ask]] = tuple, *, tick: Tick | None = None
    ) -> Generator[tuple[int, Reply | Ended]]:
        """The same for several wishes: replies with the place of their wish, Ended as the last of each.

        The room draws them side by side where its engine can, else one after the other. `newcomers` is asked now and
        then for wishes that join, placed behind the others. Raises EngineError for all that are not ended then.
        """
        frames = [(self._frame(ask), ask.stepped) for ask in asks]
        return self._converse(Talk(self.settings, tick), frames, newcomers)

    def cancel(self, place: int | None = None) -> None:
        """Stop what is drawn now, all of it or one wish.

        The room has `cancel_seconds` to obey before it is killed; more while it draws what is not canceled.
        """
        if talk := self._talk:
            talk.cancel(place)

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
            for _ in _one(self._converse(Talk(self.settings, None), [(frame, None)])):
                pass

    def keep_warm(self, specs: Sequence[CheckpointSpec], *, tick: Tick | None = None) -> None:
        """These and no others are kept warm from now on; returns when they are loaded, as far as they fit.

        Raises EngineError, RoomBusyError while it draws, and what `tick` raises.
        """
        frame = Frame(Message.KEEP, next(self._numbers), {"kept": [asdict(spec) for spec in specs]})
        for _ in _one(self._converse(Talk(self.settings, tick), [(frame, None)])):
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

    def _converse(
        self,
        talk: Talk,
        frames: Sequence[tuple[Frame, Stepped | None]],
        newcomers: Callable[[], Sequence[Ask]] = tuple,
    ) -> Generator[tuple[int, Reply | Ended]]:
        with self._my_turn(talk):
            former, child = self._child, self._open(talk)
            try:
                try:
                    yield from self._speak(child, talk, frames, newcomers)
                except RoomError:
                    if child is not former or child.alive or not talk.is_unheard:
                        raise
                    # It died between two wishes, and we had not heard of it yet: no fault of who is next.
                    logger.warning("The engine room was gone before it began; a fresh one is asked")
                    sent, child = talk.begin_anew(), self._open(talk)
                    yield from self._speak(child, talk, sent, newcomers)
            finally:
                self._part(child, talk)

    def _speak(
        self,
        child: Child,
        talk: Talk,
        frames: Sequence[tuple[Frame, Stepped | None]],
        newcomers: Callable[[], Sequence[Ask]],
    ) -> Iterator[tuple[int, Reply | Ended]]:
        for frame, stepped in frames:
            yield from self._let_in(child, frame, talk, stepped)
        yield from self._replies(child, talk, newcomers)

    def _frame(self, ask: Ask) -> Frame:
        parts, body = join_parts([ask.params.source, ask.params.mask])
        if len(body) > FRAME_LIMIT:
            raise InvalidParamsError(
                f"The picture to start from has {len(body) // MEGABYTE} MB; {FRAME_LIMIT // MEGABYTE} MB is the most.",
                hint="Hand in a smaller one.",
            )
        header = {"spec": asdict(ask.spec), "params": ask.params.to_header(), "parts": parts}
        return Frame(Message.GENERATE, next(self._numbers), header, body)

    @contextmanager
    def _my_turn(self, talk: Talk) -> Iterator[None]:
        if not self._turn.acquire(blocking=False):
            raise RoomBusyError("The engine room works for somebody else.", hint="Wait until it has finished.")
        self._talk = talk  # not earlier: who is refused must not take the cancel of who is drawing
        try:
            yield
        finally:
            self._talk = None
            self._turn.release()

    def _open(self, talk: Talk) -> Child:
        child = self._child
        if child is None or not child.alive:
            settings = self.settings
            child = Child(
                device=settings.device,
                threads=settings.threads,
                log_level=settings.log_level,
                limits=settings.limits,
                nice=settings.nice,
            )
            self._child = child
        try:
            while not child.wait_ready(TICK_SECONDS):
                talk.check()
                if talk.canceled:
                    raise CanceledError("Canceled.")
        except RoomStalledError:
            child.kill()
            raise
        talk.progress(self.settings.stall_seconds)
        return child

    def _let_in(self, child: Child, frame: Frame, talk: Talk, stepped: Stepped | None) -> Iterator[tuple[int, Ended]]:
        if talk.is_canceled(len(talk.said)):
            yield talk.pass_over(), Ended(CanceledError("Canceled."))
        else:
            self._say(child, frame, talk, stepped)

    def _say(self, child: Child, frame: Frame, talk: Talk, stepped: Stepped | None) -> None:
        talk.say(frame, stepped)
        talk.hopeless = True  # as long as half a frame is on its way, nothing else can be said
        try:
            child.channel.send(frame, waiting=talk.check)
        except OSError as error:
            raise child.death() from error
        talk.hopeless = False

    def _replies(
        self, child: Child, talk: Talk, newcomers: Callable[[], Sequence[Ask]] = tuple
    ) -> Iterator[tuple[int, Reply | Ended]]:
        """Raises ProtocolError when an answer cannot be read; then the room cannot be trusted with another wish."""
        try:
            if talk.open:
                yield from self._let_join(child, talk, newcomers)
            while talk.open:
                for said in talk.open:
                    _tell_cancel(child, talk, said)
                frame = child.next_frame(TICK_SECONDS)
                one = None if frame is None else talk.find(frame.number)
                if frame is not None and one is not None:
                    talk.heard = True
                    talk.progress()
                    for reply in self._heard(frame, one, talk):
                        yield one.place, reply
                        talk.progress()  # what the consumer did meanwhile is not the room's fault
                talk.check()
                if talk.open:
                    yield from self._let_join(child, talk, newcomers)
        except ProtocolError:
            talk.hopeless = True
            raise

    def _let_join(
        self, child: Child, talk: Talk, newcomers: Callable[[], Sequence[Ask]]
    ) -> Iterator[tuple[int, Ended]]:
        for ask in newcomers():
            try:
                frame = self._frame(ask)
            except EngineError as error:
                yield talk.pass_over(), Ended(error)
            else:
                yield from self._let_in(child, frame, talk, ask.stepped)

    def _heard(self, frame: Frame, one: Said, talk: Talk) -> Iterator[Reply | Ended]:
        """What a frame means to who asked: of a canceled wish nothing but its end."""
        ended = frame.type in (Message.DONE, Message.FAILED)
        if talk.is_canceled(one.place):
            if ended:
                one.over = True
                yield Ended(CanceledError("Canceled."), seconds_of(frame))
            elif frame.type is Message.NOTE:
                self._note(frame, talk)
            return
        if frame.type is Message.FAILED:
            one.over = True
            yield Ended(error_of(frame))
            return
        if (reply := self._reply(frame, one, talk)) is not None:
            yield reply
        if ended:
            one.over = True
            yield Ended()

    def _reply(self, frame: Frame, one: Said, talk: Talk) -> Reply | None:
        if frame.type is Message.EVENT:
            return EncodedFragment.from_frame(frame)
        if frame.type is Message.WORDS:
            return words_of(frame)
        if frame.type is Message.DONE:
            return Figures.from_frame(frame) if frame.header else None
        if frame.type is Message.STEP:
            step = step_of(frame)
            return None if one.stepped is None else one.stepped(step)
        return self._note(frame, talk)

    def _note(self, frame: Frame, talk: Talk) -> Note:
        """To load may take longer than all else, for whomever it is done."""
        note = note_of(frame)
        if note.kind in (LOADING, LOADED):
            settings = self.settings
            talk.progress(settings.load_seconds if note.kind == LOADING else settings.stall_seconds)
        return note

    def _part(self, child: Child, talk: Talk) -> None:
        """Leave the room ready for the next conversation, or dead."""
        if not child.alive or not (talk.open or talk.hopeless):
            return
        until = time.monotonic() + (0 if talk.hopeless else self.settings.cancel_seconds)
        for said in talk.open:
            child.say(Frame(Message.CANCEL, said.number))
        with suppress(EngineError):
            while time.monotonic() < until:
                frame = child.next_frame(TICK_SECONDS)
                one = None if frame is None else talk.find(frame.number)
                if frame is not None and one is not None and frame.type in (Message.DONE, Message.FAILED):
                    one.over = True
                    if not talk.open:
                        return
        child.kill()


def _tell_cancel(child: Child, talk: Talk, one: Said) -> None:
    """Until it is said: the room may not read just now."""
    if talk.is_canceled(one.place) and not one.told:
        one.told = child.say(Frame(Message.CANCEL, one.number))


def _one(replies: Generator[tuple[int, Reply | Ended]]) -> Iterator[Reply]:
    """Of a conversation about a single wish. Closed here and now: left to the collector, the room might draw on."""
    with closing(replies):
        for _, reply in replies:
            if not isinstance(reply, Ended):
                yield reply
            elif reply.error is not None:
                raise reply.error
