"""What travels inside a PNG: read back by Pillow and an XML parser, and never a pixel changed."""

import struct
import xml.etree.ElementTree as ElementTree
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generation.engines.encoding import png
from generation.engines.png_chunks import SIGNATURE, chunk
from generation.engines.provenance import (
    CHANGED,
    GENERATED,
    SOURCE_TYPES,
    dressed_head,
    png_with_recipe,
    png_without_recipe,
    recipe_of,
    source_type_of,
)

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
RECIPE: dict[str, Any] = {
    "software": "Tessera",
    "checkpoint": "starter-diffusion",
    "capability": "text_to_image",
    "prompt": 'a cat "left of" <猫> & co\n',
    "negative_prompt": "dogs",
    "seed": 7,
    "steps": 8,
    "guidance": 2.5,
    "width": 32,
    "height": 32,
}


def noise(edge: int, seed: int = 5) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), dtype=np.uint8)


def opened(data: bytes) -> Image.Image:
    """Every check sum looked at, every pixel decoded."""
    with Image.open(BytesIO(data)) as picture:
        picture.verify()
    picture = Image.open(BytesIO(data))
    picture.load()
    return picture


def xmp_of(data: bytes) -> ElementTree.Element:
    """The one rdf:Description, found by Pillow and read by expat."""
    packet = opened(data).info["xmp"]
    return ElementTree.fromstring(packet).find(".//{*}Description")  # type: ignore[return-value] # noqa: S314 our own


def pixel_chunks(data: bytes) -> bytes:
    """From the first IDAT to the end."""
    return data[data.index(b"IDAT") - 4 :]


def test_the_recipe_travels_inside_and_changes_no_pixel() -> None:
    plain = png(noise(32))
    dressed = png_with_recipe(plain, RECIPE)
    picture = opened(dressed)
    assert "猫" in picture.info["tessera"]
    assert recipe_of(dressed) == RECIPE
    assert recipe_of(plain) is None
    assert np.array_equal(np.asarray(picture), noise(32))
    assert pixel_chunks(dressed) == pixel_chunks(plain)
    assert png_with_recipe(plain, dict(reversed(RECIPE.items()))) == dressed, "the order of the keys does not count"


def test_other_tools_find_the_parameters_where_they_look() -> None:
    told = opened(png_with_recipe(png(noise(8)), {**RECIPE, "prompt": "a cat"})).info["parameters"]
    assert told.splitlines() == [
        "a cat",
        "Negative prompt: dogs",
        "Steps: 8, CFG scale: 2.5, Seed: 7, Size: 32x32, Model: starter-diffusion, Version: Tessera",
    ]


def test_the_mark_stays_without_the_recipe_and_tells_nothing_else() -> None:
    plain = png(noise(16))
    bare = png_without_recipe(png_with_recipe(plain, RECIPE), RECIPE)
    picture = opened(bare)
    assert np.array_equal(np.asarray(picture), noise(16))
    assert set(picture.info) == {"xmp", "XML:com.adobe.xmp"}
    assert recipe_of(bare) is None
    for secret in ("cat", "猫", "starter", "dogs", "7.0", "seed"):
        assert secret.encode() not in bare[: bare.index(b"IDAT")]
    xmp = xmp_of(bare)
    assert xmp.findtext(f"{IPTC}DigitalSourceType") == SOURCE_TYPES + GENERATED
    assert xmp.findtext("{http://ns.adobe.com/xap/1.0/}CreatorTool") == "Tessera"
    assert len(xmp) == 2
    assert png_with_recipe(bare, RECIPE) == png_with_recipe(plain, RECIPE), "and the recipe can be put back"


def test_xmp_holds_the_prompt_only_with_the_recipe_and_survives_any_words() -> None:
    prompt = "<x> & \ud800 \x01 ]]> \ufffe 🦊"
    xmp = xmp_of(png_with_recipe(png(noise(8)), {"prompt": prompt}))
    assert xmp.findtext(".//{http://purl.org/dc/elements/1.1/}description//{*}li") == "<x> & ? ? ]]> ? 🦊"


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        ({}, GENERATED),
        ({"capability": "text_to_image"}, GENERATED),
        ({"capability": "edit"}, CHANGED),
        ({"capability": "inpaint"}, CHANGED),
        ({"capability": "edit", "digital_source_type": GENERATED}, GENERATED),
        ({"digital_source_type": "somethingElse"}, GENERATED),
    ],
)
def test_the_kind_of_source_is_iptcs_word(recipe: dict[str, Any], kind: str) -> None:
    assert source_type_of(recipe) == kind
    assert xmp_of(png_without_recipe(png(noise(8)), recipe)).findtext(f"{IPTC}DigitalSourceType") == SOURCE_TYPES + kind


def test_a_new_recipe_replaces_the_old_one_and_other_chunks_stay() -> None:
    plain = png(noise(8))
    assert png_with_recipe(png_with_recipe(plain, {"seed": 1}), {"seed": 2}) == png_with_recipe(plain, {"seed": 2})
    pixels = chunk(b"pHYs", struct.pack("!IIB", 2835, 2835, 1))
    place = plain.index(b"IDAT") - 4
    with_size = plain[:place] + pixels + plain[place:]
    for data in (png_with_recipe(with_size, RECIPE), png_without_recipe(with_size, RECIPE)):
        assert data.count(pixels) == 1 and opened(data).info["dpi"] == pytest.approx((72, 72), abs=0.01)


def test_only_the_head_is_read() -> None:
    dressed = png_with_recipe(png(noise(300)), RECIPE)
    stream = BytesIO(dressed)
    head, rest = dressed_head(stream, RECIPE, with_recipe=True)
    assert head == dressed[:rest] and dressed[rest + 4 : rest + 8] == b"IDAT"
    assert rest < len(dressed) / 50


def test_a_prompt_that_is_no_unicode_text_still_gives_a_png() -> None:
    assert recipe_of(png_with_recipe(png(noise(8)), {"prompt": "half \ud800"})) == {"prompt": "half ?"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        SIGNATURE,
        SIGNATURE + b"abc",
        SIGNATURE + b"\x00\x00\xff\xffIHDR1234",
        SIGNATURE + b"\xff\xff\xff\xfftEXt" + b"x" * 99,
        SIGNATURE + chunk(b"IHDR", b"x" * 13),
    ],
)
def test_what_is_no_png_is_refused(data: bytes) -> None:
    for change in (png_with_recipe, png_without_recipe):
        with pytest.raises(ValueError, match="PNG"):
            change(data, {})


def test_every_check_sum_is_right() -> None:
    data, place = png_with_recipe(png(noise(16)), RECIPE), len(SIGNATURE)
    kinds = []
    while place < len(data):
        length, kind = struct.unpack_from("!I4s", data, place)
        body = data[place + 4 : place + 8 + length]
        assert struct.unpack_from("!I", data, place + 8 + length)[0] == zlib.crc32(body)
        kinds.append(kind)
        place += 12 + length
    assert kinds == [b"IHDR", b"iTXt", b"iTXt", b"iTXt", b"IDAT", b"IEND"]
