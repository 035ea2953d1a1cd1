"""Streaming decoders: a mosaic exactly, the Janus decoder in bands that come close."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import JanusForConditionalGeneration
from transformers.models.janus.modeling_janus import JanusVQVAE

from generation.engines.decoder import DecoderParts, JanusDecoder, MosaicDecoder
from generation.engines.fragments import Pixels
from generation.engines.mosaic import Mosaic, MosaicError

CODES = torch.randint(0, 128, (64,), generator=torch.Generator().manual_seed(5)).tolist()


@pytest.fixture(scope="module")
def network(janus_folder: Path) -> JanusVQVAE:
    return JanusForConditionalGeneration.from_pretrained(janus_folder).model.vqmodel


def in_bands(decoder: JanusDecoder, codes: list[int]) -> Pixels:
    patches = [patch for code in codes if (patch := decoder.feed(code)) is not None]
    assert [patch.y for patch in patches] == sorted({patch.y for patch in patches})
    return np.concatenate([patch.pixels for patch in patches])


@torch.no_grad()
def by_the_network_itself(network: JanusVQVAE, codes: list[int]) -> Pixels:
    picture = network.decode(torch.tensor([codes]))[0].permute(1, 2, 0)
    return ((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def test_the_final_is_what_the_network_itself_decodes(network: JanusVQVAE) -> None:
    decoder = JanusDecoder(DecoderParts.of(network))
    in_bands(decoder, CODES)
    assert np.array_equal(decoder.final(), by_the_network_itself(network, CODES))


@pytest.mark.parametrize("band_rows", [1, 2, 3])
def test_bands_cover_the_picture_and_come_close(network: JanusVQVAE, band_rows: int) -> None:
    stripes = CODES[:8] * 8  # rows to come are like the last one, so that the decoder's guess about them is right
    bands = in_bands(JanusDecoder(DecoderParts.of(network), band_rows=band_rows), stripes)
    whole = by_the_network_itself(network, stripes)
    assert bands.shape == whole.shape
    assert np.abs(bands.astype(int) - whole).mean() < whole.std() / 3


def test_a_band_of_everything_is_exact(network: JanusVQVAE) -> None:
    assert np.array_equal(
        in_bands(JanusDecoder(DecoderParts.of(network), band_rows=8), CODES), by_the_network_itself(network, CODES)
    )


def test_fragments_may_be_drafts_and_the_final_is_not(network: JanusVQVAE) -> None:
    parts = DecoderParts.of(network)
    draft = DecoderParts(*(deepcopy(part).to(torch.bfloat16) for part in (parts.quantize, parts.widen, parts.decoder)))
    plain, drafted = JanusDecoder(parts), JanusDecoder(parts, draft=draft)
    exact, close = in_bands(plain, CODES), in_bands(drafted, CODES)
    assert not np.array_equal(exact, close)
    assert np.abs(exact.astype(int) - close).mean() < 3
    assert np.array_equal(plain.final(), drafted.final())


@pytest.mark.parametrize(
    ("rows", "expected"), [(None, [1, 2, 3, 4, 5, 6, 7, 8]), (2, [1, 3, 5, 7, 8]), (3, [1, 4, 7, 8])]
)
def test_the_first_band_is_a_single_row(network: JanusVQVAE, rows: int | None, expected: list[int]) -> None:
    decoder = JanusDecoder(DecoderParts.of(network), band_rows=rows)
    patches = [(len(decoder.codes) // 8, patch) for code in CODES if (patch := decoder.feed(code)) is not None]
    assert [last for last, _ in patches] == expected
    assert [patch.y // 2 for _, patch in patches] == [0, *expected[:-1]]


def test_a_mosaic_refuses_codes_where_they_make_no_sense(mosaic_folder: Path) -> None:
    decoder = MosaicDecoder(Mosaic.load(mosaic_folder))
    assert decoder.feed(0) is None
    for _ in range(3):
        assert decoder.feed(4) is None
    with pytest.raises(MosaicError):
        decoder.feed(1)
