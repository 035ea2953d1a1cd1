"""The codes that an autoregressive picture was drawn of: about 1 KB from which it can be shown again, packed as text.

Must not import torch or Django: the portal packs and checks them without either.
"""

import base64
import binascii
import struct
from collections.abc import Callable, Sequence

import numpy as np

from generation.engines.errors import InvalidParamsError

HEAD = struct.Struct("<BI")  # bits of one code, how many codes
MOST_CODES = 65_536
MOST_BITS = 24


def pack_codes(codes: Sequence[int]) -> str:
    """Each in as many bits as the largest needs: 576 codes of 14 bits are 1,352 characters. No codes are no text."""
    if not codes:
        return ""
    values = np.asarray(codes, dtype=np.uint32)
    bits = max(1, int(values.max()).bit_length())
    planes = values[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint32) & 1
    packed = np.packbits(planes.astype(np.uint8).ravel()).tobytes()
    return base64.b64encode(HEAD.pack(bits, len(codes)) + packed).decode("ascii")


def unpack_codes(text: str) -> tuple[int, ...]:
    """The reverse. Raises ValueError for what `pack_codes` did not write."""
    if not text:
        return ()
    try:
        data = base64.b64decode(text, validate=True)
        bits, count = HEAD.unpack_from(data)
    except (binascii.Error, struct.error, ValueError) as error:
        raise ValueError("These are no packed codes.") from error
    if not 1 <= bits <= MOST_BITS or not 1 <= count <= MOST_CODES or len(data) != HEAD.size + -(-bits * count // 8):
        raise ValueError("These are no packed codes.")
    planes = np.unpackbits(np.frombuffer(data, np.uint8, offset=HEAD.size), count=bits * count)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    return tuple(int(code) for code in planes.reshape(count, bits) @ weights)


def require_codes(codes: Sequence[int], *, tokens: int, allowed: Callable[[int], slice]) -> None:
    """Raises InvalidParamsError unless a picture of `tokens` codes can be shown of them."""
    if len(codes) != tokens:
        raise InvalidParamsError(f"A picture of this checkpoint has {tokens} codes, not {len(codes)}.")
    for position, code in enumerate(codes):
        fitting = allowed(position)
        if not fitting.start <= code < fitting.stop:
            raise InvalidParamsError(f"This checkpoint has no code {code} at position {position}.")
