"""Pixels to bytes: small enough for the socket, and the same every time."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from generation.engines.encoding import WEBP_LIMIT, encode, webp
from generation.engines.fragments import Fragment, Kind, Pixels
from generation.engines.png_chunks import SIGNATURE


def noise(width: int, height: int) -> Pixels:
    """The hardest picture to make small."""
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def fragment(kind: Kind, pixels: Pixels, canvas: int) -> Fragment:
    return Fragment(kind, 1, 2, 3, 4, canvas, canvas, 5, 6, pixels, seed=7)


def decoded(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("size", [(1, 1), (128, 16), (256, 256)])
def test_a_small_canvas_loses_nothing(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    encoded = encode(fragment(Kind.FRAGMENT, pixels, 256))
    assert np.array_equal(decoded(encoded.data), pixels)
    assert (encoded.width, encoded.height, encoded.x, encoded.y) == (*size, 3, 4)


@pytest.mark.parametrize("size", [(512, 512), (1024, 1024), (2048, 64), (2048, 1536)])
def test_whatever_is_drawn_stays_below_the_limit(size: tuple[int, int]) -> None:
    encoded = encode(fragment(Kind.PREVIEW, noise(*size), 2048))
    assert len(encoded.data) <= WEBP_LIMIT
    assert (encoded.width, encoded.height) == size, "the rectangle stays, even where the data holds fewer pixels"


def test_a_smooth_large_picture_keeps_its_pixels() -> None:
    slope = np.tile(np.linspace(0, 255, 1024, dtype=np.uint8)[None, :, None], (1024, 1, 3))
    shown = decoded(webp(slope, lossless=False))
    assert shown.shape == slope.shape
    assert np.abs(shown.astype(int) - slope).mean() < 3


def test_the_final_is_the_same_png_every_time() -> None:
    pixels = noise(64, 48)
    first, second = encode(fragment(Kind.FINAL, pixels, 64)), encode(fragment(Kind.FINAL, pixels.copy(), 64))
    assert first == second
    assert first.data.startswith(SIGNATURE)
    assert np.array_equal(decoded(first.data), pixels)
