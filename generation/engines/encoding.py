"""Pixels to bytes: fragments and previews as small WebP, finals as PNG, and the recipe that travels inside a PNG.

The same pixels always give the same bytes. Knows no engine, no torch and no Django.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image

from generation.engines.codes import pack_codes
from generation.engines.fragments import Fragment, Kind, Pixels
from generation.engines.protocol import EncodedFragment

WEBP_LIMIT = 240 * 1000  # a socket frame is 256 KiB with its header
LOSSLESS_EDGE = 256
LOSSY_PIXELS = 1024 * 1024  # more than a page shows of something that is replaced soon, and slow to encode
QUALITIES = (80, 60, 40, 20)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_LEVEL = 6
KEYWORD = b"tessera"


def encode(fragment: Fragment) -> EncodedFragment:
    """WebP for what is replaced soon, PNG for what is kept."""
    data = png(fragment.pixels) if fragment.kind is Kind.FINAL else webp(fragment.pixels, lossless=_is_small(fragment))
    return EncodedFragment(
        kind=fragment.kind,
        index=fragment.index,
        sequence=fragment.sequence,
        x=fragment.x,
        y=fragment.y,
        width=fragment.width,
        height=fragment.height,
        canvas_width=fragment.canvas_width,
        canvas_height=fragment.canvas_height,
        step=fragment.step,
        steps=fragment.steps,
        seed=fragment.seed,
        data=data,
        codes=pack_codes(fragment.codes),
        precision=fragment.precision,
        memory=fragment.memory,
    )


def webp(pixels: Pixels, *, lossless: bool) -> bytes:
    """At most WEBP_LIMIT bytes: first without loss where asked, then with less quality, then with fewer pixels."""
    picture = Image.fromarray(pixels, "RGB")
    if lossless and len(data := _save(picture, "WEBP", lossless=True, quality=60, method=2)) <= WEBP_LIMIT:
        return data
    while picture.width * picture.height > LOSSY_PIXELS:
        picture = _halved(picture)
    while True:
        for quality in QUALITIES:
            if len(data := _save(picture, "WEBP", quality=quality, method=2)) <= WEBP_LIMIT:
                return data
        picture = _halved(picture)


def png(pixels: Pixels) -> bytes:
    """Without a date or any other chunk that differs from run to run."""
    return _save(Image.fromarray(pixels, "RGB"), "PNG", compress_level=PNG_LEVEL)


def png_with_recipe(png_bytes: bytes, recipe: dict[str, Any]) -> bytes:
    """The same picture with `recipe` as JSON in an iTXt chunk "tessera"; an older recipe is replaced.

    The pixels' bytes are not touched. Raises ValueError when these are no PNG bytes.
    """
    text = json.dumps(recipe, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")
    # keyword, end of keyword, not compressed, method 0, no language, no translated keyword
    ours = _chunk(b"iTXt", KEYWORD + b"\0\0\0\0\0" + text)
    parts = [PNG_SIGNATURE]
    for kind, payload in _chunks(png_bytes):
        if not _is_recipe(kind, payload):
            parts.append(_chunk(kind, payload))
        if kind == b"IHDR":
            parts.append(ours)
    return b"".join(parts)


def recipe_of(png_bytes: bytes) -> dict[str, Any] | None:
    """The recipe inside, or None. Raises ValueError when these are no PNG bytes."""
    for kind, payload in _chunks(png_bytes):
        if _is_recipe(kind, payload):
            recipe = json.loads(payload[len(KEYWORD) + 5 :])
            return recipe if isinstance(recipe, dict) else None
    return None


def _is_small(fragment: Fragment) -> bool:
    return max(fragment.canvas_width, fragment.canvas_height) <= LOSSLESS_EDGE


def _halved(picture: Image.Image) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)


def _save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _is_recipe(kind: bytes, payload: bytes) -> bool:
    return kind == b"iTXt" and payload.startswith(KEYWORD + b"\0\0\0\0\0")


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload)) + kind + payload + struct.pack("!I", zlib.crc32(kind + payload))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(PNG_SIGNATURE):
        raise ValueError("These are no PNG bytes.")
    place = len(PNG_SIGNATURE)
    while place < len(data):
        if place + 12 > len(data):
            raise ValueError("The PNG ends in the middle of a chunk.")
        (length,) = struct.unpack_from("!I", data, place)
        if place + 12 + length > len(data):
            raise ValueError("The PNG ends in the middle of a chunk.")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length
