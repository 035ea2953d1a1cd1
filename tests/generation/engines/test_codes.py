"""The codes of a picture: packed small, refused when they are none, and shown again as the very same pixels."""

import random
from pathlib import Path

import pytest

from generation.engines.base import CancelToken
from generation.engines.codes import pack_codes, require_codes, unpack_codes
from generation.engines.encoding import encode
from generation.engines.errors import InvalidParamsError
from generation.engines.fragments import Kind
from generation.engines.params import GenerationParams
from generation.engines.protocol import HEADER_LIMIT, EncodedFragment, Frame, Message, pack
from tests.generation.engines.drawing import PROMPT, draw, finals, loaded, same

DICE = random.Random(11)  # noqa: S311 a game, no secret


@pytest.mark.parametrize("codes", [(0,), (1, 0, 1), (65_535,) * 3, tuple(range(1000)), (2**24 - 1, 0)])
def test_codes_come_out_as_they_went_in(codes: tuple[int, ...]) -> None:
    assert unpack_codes(pack_codes(codes)) == codes


def test_no_codes_are_no_text() -> None:
    assert (pack_codes(()), unpack_codes("")) == ("", ())


def test_a_picture_of_janus_is_about_a_kilobyte_and_one_of_emu3_fits_a_header() -> None:
    assert len(pack_codes([DICE.randrange(16_384) for _ in range(576)])) <= 1400
    codes = tuple(DICE.randrange(32_768) for _ in range(8_100))
    packed = pack_codes(codes)
    fragment = EncodedFragment(Kind.FINAL, 0, 0, 0, 0, 720, 720, 720, 720, 8100, 8100, 7, b"png", packed)
    frame = Frame(Message.EVENT, 1, fragment.to_header(), fragment.data)
    assert len(pack(frame)) < HEADER_LIMIT
    assert unpack_codes(EncodedFragment.from_frame(frame).codes) == codes


@pytest.mark.parametrize("text", ["?", "AAAA", pack_codes(range(9))[:-4], pack_codes(range(9)) + "AAAA", "AP////8="])
def test_what_was_not_packed_by_us_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no packed codes"):
        unpack_codes(text)


def test_codes_must_be_as_many_and_as_large_as_the_decoder_takes() -> None:
    require_codes([0, 3], tokens=2, allowed=lambda position: slice(3 * position, 4))
    with pytest.raises(InvalidParamsError, match="2 codes, not 1"):
        require_codes([0], tokens=2, allowed=lambda position: slice(0, 4))
    with pytest.raises(InvalidParamsError, match="no code 2 at position 1"):
        require_codes([0, 2], tokens=2, allowed=lambda position: slice(3 * position, 4))


@pytest.mark.parametrize(("name", "edge"), [("janus_folder", 16), ("mosaic_folder", 32)])
def test_the_codes_of_a_final_show_the_same_pixels(name: str, edge: int, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    engine = loaded(folder, "multimodal")
    *fragments, final = draw(engine, edge)
    assert all(not fragment.codes for fragment in fragments)
    engine.unload()
    [again] = draw(loaded(folder, "multimodal"), edge, codes=final.codes, seed=99)
    assert again.kind is Kind.FINAL and same(final, again) and again.codes == final.codes
    assert encode(again).data == encode(final).data, "the bytes of the PNG too"
    [other] = draw(loaded(folder, "multimodal"), edge, codes=(final.codes[0], *reversed(final.codes[1:])))
    assert not same(final, other)


def test_each_picture_of_a_batch_has_its_own_codes(mosaic_folder: Path) -> None:
    first, second = finals(draw(loaded(mosaic_folder, "multimodal"), 32, count=2))
    assert first.codes != second.codes and len(first.codes) == len(second.codes) == 65


def test_codes_that_do_not_fit_are_refused_before_anything_is_decoded(
    mosaic_folder: Path, diffusion_folder: Path
) -> None:
    with pytest.raises(InvalidParamsError, match="65 codes, not 2"):
        draw(loaded(mosaic_folder, "multimodal"), 32, codes=(1, 2))
    wish = GenerationParams(PROMPT, 32, 32, 7, codes=(1, 2))
    with pytest.raises(InvalidParamsError, match="draws without codes"):
        list(loaded(diffusion_folder, "diffusion").generate(wish, CancelToken()))
    with pytest.raises(InvalidParamsError, match="one picture at a time"):
        GenerationParams(PROMPT, 32, 32, 7, codes=(1, 2), count=2)


def test_codes_cross_the_protocol() -> None:
    wish = GenerationParams(PROMPT, 32, 32, 7, codes=(1, 2))
    assert GenerationParams.from_header(wish.to_header(), source=None, mask=None) == wish
