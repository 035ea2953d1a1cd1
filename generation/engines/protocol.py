"""What the engine room and its client say to each other: framed, versioned messages over a Unix socket pair.

A frame is a fixed head, a JSON header and raw bytes; pictures cross encoded, nothing is ever pickled.
Must not import torch or Django: the queue's worker reads this.
"""

import contextlib
import json
import selectors
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from threading import Lock
from typing import Any, Self, TypeVar, get_origin, get_type_hints

from generation.engines.errors import EngineError, RoomError
from generation.engines.fragments import Kind, Note, Step, Words

T = TypeVar("T")

MAGIC = b"TR"
VERSION = 6
HEAD = struct.Struct("!2sBBII")  # magic, version, type, bytes of the header, bytes of the body
HEADER_LIMIT = 1024 * 1024
FRAME_LIMIT = 64 * 1024 * 1024
POLL_SECONDS = 0.25


class ProtocolError(RoomError):
    """The other side does not speak this protocol, or stopped in the middle of a frame."""

    code = "room_protocol"
    retryable = False


class ShortReadError(ProtocolError):
    """The other side ended in the middle of a frame: most likely it died."""

    retryable = True


class EngineCrashedError(EngineError):
    """Something unexpected happened inside an engine; the room's log holds the traceback."""

    code = "engine_crashed"

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What is told of an error that nobody expected."""
        return cls(
            f"The engine failed unexpectedly ({type(error).__name__}).",
            hint="The log of the engine room tells more.",
        )


class Message(IntEnum):
    """Below 16 from the client, from 16 on from the room. Every answer carries the number of what it answers."""

    GENERATE = 1
    CANCEL = 2
    UNLOAD = 3
    BYE = 4
    KEEP = 5
    EVENT = 16
    NOTE = 17
    DONE = 18
    FAILED = 19
    STATUS = 20
    STEP = 21
    WORDS = 22


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `number` is the wish it belongs to; 0 for those that belong to none."""

    type: Message
    number: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""


def join_parts(parts: Sequence[bytes | None]) -> tuple[list[int | None], bytes]:
    """Several byte strings as one body, and the lengths that tell them apart."""
    return [None if part is None else len(part) for part in parts], b"".join(part or b"" for part in parts)


def split_parts(lengths: Sequence[int | None], body: bytes) -> list[bytes | None]:
    """The reverse. Raises ProtocolError."""
    parts, at = list[bytes | None](), 0
    for length in lengths:
        parts.append(None if length is None else body[at : at + length])
        at += length or 0
    if at != len(body):
        raise ProtocolError(f"A body of {len(body)} bytes should have {at}.")
    return parts


@dataclass(frozen=True, slots=True)
class EncodedFragment:
    """A fragment as it crosses processes: `data` is WebP (each at most 240 KB), for a final PNG.

    `x`, `y`, `width`, `height` are the rectangle it fills, in canvas pixels for a fragment or final. A preview stands
    for the whole canvas whatever its own size. `data` may hold fewer pixels than the rectangle: scale it.
    `codes`, packed, are those that the final of an autoregressive network was drawn of.
    """

    kind: Kind
    index: int
    sequence: int
    x: int
    y: int
    width: int
    height: int
    canvas_width: int
    canvas_height: int
    step: int
    steps: int
    seed: int
    data: bytes
    codes: str = ""
    precision: str = ""
    memory: str = ""

    def to_header(self) -> dict[str, Any]:
        """JSON-ready, without the bytes."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "data"}

    @classmethod
    def from_frame(cls, frame: Frame) -> Self:
        """The reverse. Raises ProtocolError for anything else."""
        return _build(cls, {**frame.header, "kind": _kind(frame.header.get("kind")), "data": frame.body})


@dataclass(frozen=True, slots=True)
class Figures:
    """What one wish took. `first_fragment_seconds` and `total_seconds` count from its arrival, loading included.

    `peak_memory_bytes` is the room's, since the newest attempt made room; `need_bytes` the part of the checkpoint, 0
    when others were drawn beside it. `device_seconds`: of drawing, those spent on several wishes at once shared.
    """

    load_seconds: float
    first_fragment_seconds: float
    total_seconds: float
    peak_memory_bytes: int
    device: str
    checkpoint: str
    precision: str = ""
    memory: str = ""
    need_bytes: int = 0
    device_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_frame(cls, frame: Frame) -> Self:
        """The reverse. Raises ProtocolError for anything else."""
        return _build(cls, frame.header)


@dataclass(frozen=True, slots=True)
class RoomStatus:
    """What the room last told of itself.

    `resident` are (name, bytes) of the checkpoints on the device, `ledger` is a `ledger.Ledger` as a dictionary.
    """

    pid: int
    device: str
    resident: tuple[tuple[str, int], ...]
    memory_used: int
    memory_total: int
    ledger: dict[str, Any] = field(default_factory=dict)

    def to_header(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_frame(cls, frame: Frame) -> Self:
        """The reverse. Raises ProtocolError for anything else."""
        try:
            resident = tuple((str(name), int(size)) for name, size in frame.header.get("resident", ()))
        except (TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"A frame is no {cls.__name__}: {error}.") from error
        return _build(cls, {**frame.header, "resident": resident})


def note_of(frame: Frame) -> Note:
    """The note in a NOTE frame."""
    return _build(Note, frame.header)


def step_of(frame: Frame) -> Step:
    """The step in a STEP frame."""
    return _build(Step, frame.header)


def words_of(frame: Frame) -> Words:
    """The words in a WORDS frame."""
    return _build(Words, frame.header)


def error_header(error: EngineError) -> dict[str, Any]:
    """What a FAILED frame says of an error."""
    return {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable}


def error_of(frame: Frame) -> EngineError:
    """The error in a FAILED frame, as the class that has its code."""
    code = str(frame.header.get("code", EngineCrashedError.code))
    known = {cls.code: cls for cls in _descendants(EngineError)}
    error = known.get(code, EngineError)(str(frame.header.get("message", "")), hint=str(frame.header.get("hint", "")))
    error.code, error.retryable = code, bool(frame.header.get("retryable", False))
    return error


def seconds_of(frame: Frame) -> float:
    """What a DONE or FAILED frame says that drawing took; 0 where it does not say."""
    found = frame.header.get("device_seconds", 0.0)
    return float(found) if isinstance(found, int | float) and found > 0 else 0.0


def pack(frame: Frame) -> bytes:
    """Bytes of one frame. Raises ProtocolError above the limits."""
    header = json.dumps({"number": frame.number, **frame.header}, allow_nan=False, separators=(",", ":")).encode()
    _check_lengths(len(header), len(frame.body))
    return HEAD.pack(MAGIC, VERSION, frame.type, len(header), len(frame.body)) + header + frame.body


class Channel:
    """One end of the socket pair. Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = Lock()

    def send(self, frame: Frame, *, waiting: Callable[[], None] | None = None) -> None:
        """Send a whole frame; `waiting` is called now and then while the other side does not read, and may raise."""
        packed = memoryview(pack(frame))
        with self._sending:
            self._send_all(packed, waiting)

    def offer(self, frame: Frame) -> bool:
        """Send, unless another thread is sending or the other side does not read: for what is soon out of date."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if writable := _ready(self._sock, selectors.EVENT_WRITE, 0):
                self._send_all(memoryview(pack(frame)), None)
        finally:
            self._sending.release()
        return writable

    def receive(self) -> Frame | None:
        """The next frame; None when the other side closed between two frames. Raises ProtocolError."""
        head = self._read(HEAD.size, at_start=True)
        if not head:
            return None
        magic, version, kind, header_length, body_length = HEAD.unpack(head)
        if magic != MAGIC:
            raise ProtocolError(f"A frame began with {magic!r} instead of {MAGIC!r}.")
        if version != VERSION:
            raise ProtocolError(
                f"The other side speaks version {version}, this one {VERSION}.",
                hint="Restart the cluster after an update.",
            )
        _check_lengths(header_length, body_length)
        return _frame(kind, self._read(header_length), self._read(body_length))

    def readable(self, seconds: float) -> bool:
        """Wait until something can be received (the end counts), at most `seconds`."""
        return _ready(self._sock, selectors.EVENT_READ, seconds)

    def hang_up(self) -> None:
        """End the conversation, so that whoever receives, on either side, comes back with nothing."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. Call after the receiving thread has ended."""
        self._sock.close()

    def _send_all(self, data: memoryview, waiting: Callable[[], None] | None) -> None:
        while data:
            if _ready(self._sock, selectors.EVENT_WRITE, POLL_SECONDS):
                with contextlib.suppress(BlockingIOError):
                    data = data[self._sock.send(data, socket.MSG_DONTWAIT) :]
            elif waiting is not None:
                waiting()

    def _read(self, length: int, *, at_start: bool = False) -> bytes:
        data = bytearray(length)
        view, have = memoryview(data), 0
        while have < length:
            got = self._sock.recv_into(view[have:])
            if not got:
                if at_start and not have:
                    return b""
                raise ShortReadError(f"The other side ended in the middle of a frame, after {have} of {length} bytes.")
            have += got
        return bytes(data)


def _ready(sock: socket.socket, event: int, seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(sock, event)
        except ValueError as error:  # another thread has closed it, perhaps just now
            raise ConnectionAbortedError("The channel was closed.") from error
        return bool(selector.select(seconds))


def _frame(kind: int, header: bytes, body: bytes) -> Frame:
    try:
        values = json.loads(header)
        return Frame(Message(kind), int(values.pop("number")), values, body)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"A frame of type {kind} cannot be read: {error}.") from error


def _check_lengths(header: int, body: int) -> None:
    if header > HEADER_LIMIT or body > FRAME_LIMIT:
        raise ProtocolError(
            f"A frame of {header} + {body} bytes is above the limit of {HEADER_LIMIT} + {FRAME_LIMIT}.",
            hint="Ask for a smaller picture.",
        )


def _kind(value: object) -> Kind:
    try:
        return Kind(str(value))
    except ValueError as error:
        raise ProtocolError(f"A frame is of the unknown kind {value!r}.") from error


def _build(cls: type[T], values: dict[str, Any]) -> T:
    try:
        built = cls(**values)
    except TypeError as error:
        raise ProtocolError(f"A frame is no {cls.__name__}: {error}.") from error
    for name, kinds in _kinds(cls).items():
        if not isinstance(getattr(built, name), kinds):
            raise ProtocolError(f"A frame is no {cls.__name__}: its {name} is a {type(getattr(built, name)).__name__}.")
    return built


def _kinds(cls: type) -> dict[str, tuple[type, ...]]:
    """What each field must be an instance of. JSON writes 2.0 as it likes, so a whole number is a float too."""
    kinds = {name: get_origin(hint) or hint for name, hint in get_type_hints(cls).items()}
    return {name: (int, float) if kind is float else (kind,) for name, kind in kinds.items()}


def _descendants(cls: type[EngineError]) -> list[type[EngineError]]:
    children = cls.__subclasses__()
    return children + [below for child in children for below in _descendants(child)]
