"""Pixels to bytes: fragments and previews as small WebP, finals as PNG. What a PNG says of itself is in `provenance`.

The same pixels always give the same bytes. Knows no engine, no torch and no Django.
"""

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
PNG_LEVEL = 6


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


def _is_small(fragment: Fragment) -> bool:
    return max(fragment.canvas_width, fragment.canvas_height) <= LOSSLESS_EDGE


def _halved(picture: Image.Image) -> Image.Image:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)


def _save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
