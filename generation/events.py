"""What travels to browsers: typed text payloads, the binary frame, and publishing that never fails.

The layer is lossy by design: the database and the live store are the truth.
"""

import struct
import uuid
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from core.push import news_group, push
from generation.engines.fragments import Kind

FRAME_LIMIT = 256 * 1024
# magic, version, kind, request, run, index, sequence, x, y, width, height, canvas width, canvas height, step, steps
HEADER = struct.Struct("!2sBB16sHHIHHHHHHHH")
MAGIC = b"TF"
VERSION = 1
KINDS: tuple[Kind, ...] = (Kind.FRAGMENT, Kind.PREVIEW)


@dataclass(frozen=True, slots=True)
class Frame:
    """One binary frame: a fragment or a preview with its place, then WebP bytes."""

    kind: Kind
    request: uuid.UUID
    run: int
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
    data: bytes

    def pack(self) -> bytes:
        """Header and picture, below FRAME_LIMIT."""
        numbers = (
            self.x,
            self.y,
            self.width,
            self.height,
            self.canvas_width,
            self.canvas_height,
            self.step,
            self.steps,
        )
        head = HEADER.pack(
            MAGIC,
            VERSION,
            KINDS.index(self.kind),
            self.request.bytes,
            self.run,
            self.index,
            self.sequence,
            *numbers,
        )
        return head + self.data

    @classmethod
    def unpack(cls, packed: bytes) -> "Frame":
        """The reverse of pack. Raises ValueError for anything else."""
        if len(packed) < HEADER.size:
            raise ValueError("A frame is longer than its header.")
        magic, version, kind, request, run, index, sequence, *numbers = HEADER.unpack_from(packed)
        if magic != MAGIC or version != VERSION or kind >= len(KINDS):
            raise ValueError("Not a frame of this version.")
        x, y, width, height, canvas_width, canvas_height, step, steps = numbers
        place = (x, y, width, height, canvas_width, canvas_height, step, steps)
        return cls(KINDS[kind], uuid.UUID(bytes=request), run, index, sequence, *place, packed[HEADER.size :])


class ImagePayload(TypedDict):
    """A finished picture, as the page needs it."""

    id: str
    index: int
    url: str
    thumb: str
    page: str
    width: int
    height: int


class RequestPayload(TypedDict):
    """A request, as the page needs it. Sent for every change of state and in snapshots."""

    id: str
    state: str
    version: int
    run: int
    prompt: str
    checkpoint: str
    width: int
    height: int
    count: int
    kept: NotRequired[int]
    step: int
    steps: int
    position: NotRequired[int]
    wait: NotRequired[str]
    error: NotRequired[dict[str, str]]
    images: NotRequired[list[ImagePayload]]
    note: NotRequired[str]
    answer: NotRequired[str]


class WordsPayload(TypedDict):
    """An answer so far, all of it: the newest makes the ones before superfluous."""

    id: str
    run: int
    text: str


class TextEvent(TypedDict):
    """One text frame to the browser."""

    type: Literal[
        "snapshot",
        "request.state",
        "request.completed",
        "request.note",
        "request.words",
        "queue.position",
        "error",
        "close",
    ]
    request: NotRequired[RequestPayload]
    requests: NotRequired[list[RequestPayload]]
    positions: NotRequired[dict[str, int]]
    waits: NotRequired[dict[str, str]]
    words: NotRequired[WordsPayload]
    paused: NotRequired[bool]
    message: NotRequired[str]
    news: NotRequired[list[RequestPayload]]
    at: NotRequired[int]


def publish_news(user_id: uuid.UUID, event: TextEvent) -> None:
    """Tell the pages of `user_id` that only want to hear of ends. Never raises."""
    push(user_id, {"type": "studio.text", "event": event}, group=news_group)


def publish_text(user_id: uuid.UUID, event: TextEvent) -> None:
    """Tell the browser(s) of `user_id`. Never raises: a lost event must not fail a render."""
    push(user_id, {"type": "studio.text", "event": event})


def publish_frame(user_id: uuid.UUID, frame: Frame) -> None:
    """Show a fragment to `user_id`. Never raises."""
    push(user_id, {"type": "studio.frame", "frame": frame.pack()})
