"""What travels to browsers: typed text payloads, the binary frame, group names, and publishing that never fails.

The layer is lossy by design: the database and the live store are the truth.
"""

import logging
import struct
import uuid
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from generation.engines.fragments import Kind

logger = logging.getLogger(__name__)

FRAME_LIMIT = 256 * 1024
# magic, version, kind, request, attempt, index, sequence, x, y, width, height, canvas width, canvas height, step, steps
HEADER = struct.Struct("!2sBB16sHHIHHHHHHHH")
MAGIC = b"TF"
VERSION = 1
KINDS: tuple[Kind, ...] = (Kind.FRAGMENT, Kind.PREVIEW)


@dataclass(frozen=True, slots=True)
class Frame:
    """One binary frame: a fragment or a preview with its place, then WebP bytes."""

    kind: Kind
    request: uuid.UUID
    attempt: int
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
        numbers = (self.x, self.y, self.width, self.height, self.canvas_width, self.canvas_height, self.step, self.steps)
        head = HEADER.pack(
            MAGIC, VERSION, KINDS.index(self.kind), self.request.bytes, self.attempt, self.index, self.sequence, *numbers
        )
        return head + self.data

    @classmethod
    def unpack(cls, packed: bytes) -> "Frame":
        """The reverse of pack. Raises ValueError for anything else."""
        if len(packed) < HEADER.size:
            raise ValueError("A frame is longer than its header.")
        magic, version, kind, request, attempt, index, sequence, *numbers = HEADER.unpack_from(packed)
        if magic != MAGIC or version != VERSION or kind >= len(KINDS):
            raise ValueError("Not a frame of this version.")
        return cls(KINDS[kind], uuid.UUID(bytes=request), attempt, index, sequence, *numbers, packed[HEADER.size :])


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
    attempt: int
    prompt: str
    checkpoint: str
    width: int
    height: int
    count: int
    step: int
    steps: int
    position: NotRequired[int]
    error: NotRequired[dict[str, str]]
    images: NotRequired[list[ImagePayload]]
    note: NotRequired[str]


class TextEvent(TypedDict):
    """One text frame to the browser."""

    type: Literal["snapshot", "request.state", "request.completed", "request.note", "queue.position", "error", "close"]
    request: NotRequired[RequestPayload]
    requests: NotRequired[list[RequestPayload]]
    positions: NotRequired[dict[str, int]]
    message: NotRequired[str]


def user_group(user_id: uuid.UUID) -> str:
    """The group of the one person who may see an event."""
    return f"user.{user_id.hex}"


def publish_text(user_id: uuid.UUID, event: TextEvent) -> None:
    """Tell the browser(s) of `user_id`. Never raises: a lost event must not fail a render."""
    _send(user_group(user_id), {"type": "studio.text", "event": event})


def publish_frame(user_id: uuid.UUID, frame: Frame) -> None:
    """Show a fragment to `user_id`. Never raises."""
    message = {
        "type": "studio.frame",
        "kind": str(frame.kind),
        "request": frame.request.hex,
        "index": frame.index,
        "frame": frame.pack(),
    }
    _send(user_group(user_id), message)


def close_sockets(user_id: uuid.UUID, reason: str) -> None:
    """Close every socket of `user_id` (logout, deactivation, password change)."""
    _send(user_group(user_id), {"type": "studio.close", "reason": reason})


def _send(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    try:
        async_to_sync(layer.group_send)(group, message)
    except Exception:  # noqa: BLE001 the layer may be any backend, and none may fail a render
        logger.warning("An event to %s was lost", group, exc_info=True)
