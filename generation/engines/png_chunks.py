"""The chunks of a PNG: read and written as they are, without a look at the pixels."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = b"IDAT"
LONGEST = 64 * 1024 * 1024  # of one chunk before the pixels: a damaged length must not fill the memory


def head_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of every chunk before the pixels; the stream then stands where those begin.

    Raises ValueError when these are no PNG bytes.
    """
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("These are no PNG bytes.")
    while True:
        head = stream.read(8)
        length, kind = struct.unpack("!I4s", head) if len(head) == 8 else (LONGEST + 1, b"")
        if kind == PIXELS:
            stream.seek(-8, 1)
            return
        payload = stream.read(length + 4) if length <= LONGEST else b""
        if len(payload) != length + 4:
            raise ValueError("The PNG ends in the middle of a chunk, or before its pixels.")
        yield kind, payload[:-4]


def chunk(kind: bytes, payload: bytes) -> bytes:
    """One chunk, with its length and check sum."""
    return struct.pack("!I", len(payload)) + kind + payload + struct.pack("!I", zlib.crc32(kind + payload))


def text_chunk(keyword: bytes, text: str) -> bytes:
    """A text in UTF-8, readable without unpacking; half a character becomes a question mark."""
    return chunk(b"iTXt", _prefix(keyword) + text.encode("utf-8", "replace"))


def text_of(kind: bytes, payload: bytes, keyword: bytes) -> str | None:
    """The text of a chunk that `text_chunk` made with this keyword."""
    prefix = _prefix(keyword)
    return payload[len(prefix) :].decode("utf-8") if kind == b"iTXt" and payload.startswith(prefix) else None


def _prefix(keyword: bytes) -> bytes:
    # end of keyword, not compressed, method 0, no language, no translated keyword
    return keyword + b"\0\0\0\0\0"
