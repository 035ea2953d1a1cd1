"""How a message crosses from a sender to the web process: a prefix, a JSON head, then the bytes values raw.

Bytes are kept out of the JSON, so a picture is never encoded as text. Knows no socket and no layer.
"""

import json
import struct
from typing import Any

MAGIC = b"TL"
VERSION = 1
MESSAGE_LIMIT = 4 * 1024 * 1024
# magic, version, padding, length of the JSON head, length of all blobs together
PREFIX = struct.Struct("!2sBxII")
_BLOB = "\0blob"


class WireError(ValueError):
    """What arrived, or what shall leave, is no message of this version or is too large."""


def encode(target: str, name: str, message: dict[str, Any]) -> bytes:
    """One message for the group or channel `name` (`target` is "group" or "channel")."""
    blobs: list[bytes] = []

    def split(value: object) -> dict[str, int]:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise WireError(f"A {type(value).__name__} cannot cross the layer.")
        blobs.append(bytes(value))
        return {_BLOB: len(blobs[-1])}

    body = json.dumps({"target": target, "name": name, "message": message}, default=split).encode()
    size = sum(map(len, blobs))
    if PREFIX.size + len(body) + size > MESSAGE_LIMIT:
        raise WireError(f"A message of {len(body) + size} bytes is above the limit of {MESSAGE_LIMIT}.")
    return b"".join([PREFIX.pack(MAGIC, VERSION, len(body), size), body, *blobs])


def lengths(prefix: bytes) -> tuple[int, int]:
    """The lengths of the head and of the blobs that follow `prefix`. Raises WireError."""
    magic, version, head, blobs = PREFIX.unpack(prefix)
    if magic != MAGIC or version != VERSION:
        raise WireError("Not a message of this version.")
    if PREFIX.size + head + blobs > MESSAGE_LIMIT:
        raise WireError(f"A message of {head + blobs} bytes is above the limit of {MESSAGE_LIMIT}.")
    return head, blobs


def decode(head: bytes, blobs: bytes) -> tuple[str, str, dict[str, Any]]:
    """Target, name and message. Raises WireError."""
    rest = memoryview(blobs)

    def join(value: dict[str, Any]) -> object:
        nonlocal rest
        if value.keys() != {_BLOB}:
            return value
        size = int(value[_BLOB])
        if not 0 <= size <= len(rest):
            raise WireError("A blob is longer than what arrived.")
        taken, rest = bytes(rest[:size]), rest[size:]
        return taken

    try:
        # The decoder meets the blobs in the order in which the encoder did.
        parsed = json.loads(head, object_hook=join)
        return str(parsed["target"]), str(parsed["name"]), dict(parsed["message"])
    except (ValueError, TypeError, KeyError) as error:
        raise WireError(f"A message cannot be read: {error}") from error
