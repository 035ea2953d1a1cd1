"""From picture codes to pixels while the codes still arrive: one small protocol, two ways.

A decoder lives for one picture. Patches cover the canvas exactly once, from top left to bottom right.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.janus.modeling_janus import JanusVQVAE, JanusVQVAEDecoder, JanusVQVAEVectorQuantizer

from generation.engines.codes import require_codes
from generation.engines.fragments import Pixels
from generation.engines.mosaic import Mosaic
from generation.engines.precision import require_finite

BANDS = 12  # patches of a picture that a network decodes: every one costs a part of a full decode
HALO = 2  # rows of codes around a band, so that its edge sees what is beside it ...
NEAR = 4  # ... but no more pixels than this before each doubling: what is finer sees less far


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels with a place on the canvas."""

    x: int
    y: int
    pixels: Pixels


class StreamingDecoder(Protocol):
    """Takes codes one by one; hands out a patch whenever enough of them are there."""

    width: int
    height: int
    tokens: int
    codes: list[int]

    def allowed(self, position: int) -> slice:
        """The codes that make sense there."""

    def feed(self, code: int) -> Patch | None:
        """Take the next code; a patch, if that completes one."""

    def final(self) -> Pixels:
        """The whole picture, once every code is there."""


def show_again(decoder: StreamingDecoder, codes: Sequence[int]) -> Pixels:
    """The picture of codes that were drawn before. Raises InvalidParamsError when they are none of this decoder's."""
    require_codes(codes, tokens=decoder.tokens, allowed=decoder.allowed)
    decoder.codes[:] = codes
    return decoder.final()


class MosaicDecoder:
    """A ground, then tiles by table look-up: exact and local. Patches are half rows, so that the canvas lives."""

    def __init__(self, mosaic: Mosaic) -> None:
        self._mosaic = mosaic
        self.codes: list[int] = []
        self.width, self.height = mosaic.size
        self.tokens = mosaic.tokens
        columns = mosaic.grid[1]
        self._ends = {(columns + 1) // 2, columns}  # tiles of a row after which a patch ends

    def allowed(self, position: int) -> slice:
        """Grounds first, tiles after."""
        return self._mosaic.allowed(position)

    def feed(self, code: int) -> Patch | None:
        """Half a row of tiles at a time."""
        self.codes.append(code)
        placed, columns, side = len(self.codes) - 1, self._mosaic.grid[1], self._mosaic.tile_side
        if placed == 0:
            return None
        row, last = divmod(placed - 1, columns)
        if last + 1 not in self._ends:
            return None
        first = max((end for end in self._ends if end <= last), default=0)
        ground, codes = self.codes[0], self.codes[1 + row * columns + first : placed + 1]
        tiles = [self._mosaic.tile(code, ground) for code in codes]
        return Patch(first * side, row * side, np.ascontiguousarray(np.concatenate(tiles, axis=1)))

    def final(self) -> Pixels:
        """The table look-up of all codes."""
        return self._mosaic.decode(self.codes)


@dataclass(frozen=True, slots=True)
class DecoderParts:
    """What of a VQ network makes pictures of codes."""

    quantize: JanusVQVAEVectorQuantizer
    widen: nn.Conv2d
    decoder: JanusVQVAEDecoder

    @classmethod
    def of(cls, network: JanusVQVAE) -> Self:
        """The network's own."""
        return cls(network.quantize, network.post_quant_conv, network.decoder)

    def draft(self) -> Self | None:
        """A copy in bfloat16 for fragments, which are drafts anyway: half the time, where the CPU has it built in.

        None where it would gain nothing.
        """
        weight = self.decoder.conv_in.weight
        if weight.dtype is not torch.float32 or weight.device.type != "cpu" or not quick_in_bfloat16():
            return None
        parts = (self.quantize, self.widen, self.decoder)
        return type(self)(*(deepcopy(part).to(torch.bfloat16) for part in parts))

    @property
    def size_bytes(self) -> int:
        """Of the weights."""
        parts = (self.quantize, self.widen, self.decoder)
        return sum(weight.nbytes for part in parts for weight in part.parameters())


def quick_in_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 by itself; without that it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class JanusDecoder:
    """The stock Janus VQ decoder on bands of rows.

    Its attention and norms see the whole picture, so a band is close to what the final will show, not equal: the
    low-resolution trunk (cheap) runs on the whole grid, with rows to come filled by the last finished one, and the
    costly upper stages on the band and a halo; all of it by `draft`, where there is one. The final is one full decode.
    """

    def __init__(
        self, network: DecoderParts, *, draft: DecoderParts | None = None, band_rows: int | None = None
    ) -> None:
        self._network, self._draft = network, draft or network
        self.codes: list[int] = []
        self._rows, self._columns = network.quantize.quant_state_dims
        self._levels = network.decoder.num_resolutions
        self._scale = 2 ** (self._levels - 1)
        self._ends = _ends(self._rows, band_rows or max(1, self._rows // BANDS))
        self.width, self.height = self._columns * self._scale, self._rows * self._scale
        self.tokens = self._rows * self._columns
        self._all = slice(0, network.quantize.num_embeddings)

    def allowed(self, position: int) -> slice:
        """Every code, everywhere."""
        return self._all

    def feed(self, code: int) -> Patch | None:
        """A band of rows at a time."""
        self.codes.append(code)
        rows, rest = divmod(len(self.codes), self._columns)
        if rest or rows not in self._ends:
            return None
        first = max((end for end in self._ends if end < rows), default=0)
        return Patch(0, first * self._scale, self._decode_band(first, rows))

    @torch.inference_mode()
    def final(self) -> Pixels:
        """One full decode."""
        features = self._trunk(self._network, self.codes)
        for level in range(1, self._levels):
            features = _finer(self._network, level, features)
        return _pixels(_picture(self._network, features), "picture decoder")

    @torch.inference_mode()
    def _decode_band(self, first: int, last: int) -> Pixels:
        missing = self._rows - last
        network = self._draft
        features, top = self._trunk(network, self.codes + self.codes[-self._columns :] * missing), 0
        for level in range(1, self._levels):
            side = 2 ** (level - 1)  # of a code, in pixels before this level doubles them
            halo = min(HALO * side, NEAR)
            begin, end = max(0, first * side - halo), min(self._rows * side, last * side + halo)
            features, top = _finer(network, level, features[:, :, begin - top : end - top]), begin * 2
        start = first * self._scale - top
        band = _picture(network, features)[:, :, start : start + (last - first) * self._scale]
        return _pixels(band, "picture decoder, band")

    def _trunk(self, network: DecoderParts, codes: list[int]) -> torch.Tensor:
        """Codes to features at the codes' own resolution, where the attention is."""
        decoder = network.decoder
        ids = torch.tensor(codes, device=network.quantize.embedding.weight.device)
        entries = F.normalize(network.quantize.embedding(ids), p=2, dim=-1)
        entries = entries.view(1, self._rows, self._columns, -1).permute(0, 3, 1, 2).contiguous()
        features = decoder.mid(decoder.conv_in(network.widen(entries)))
        return _stage(network, 0, features)


def _finer(network: DecoderParts, level: int, features: torch.Tensor) -> torch.Tensor:
    """Twice the pixels; local but for the norms."""
    return _stage(network, level, network.decoder.up[level - 1].upsample(features))


def _picture(network: DecoderParts, features: torch.Tensor) -> torch.Tensor:
    features = network.decoder.norm_out(features)
    picture: torch.Tensor = network.decoder.conv_out(features * torch.sigmoid(features))
    return picture


def _stage(network: DecoderParts, level: int, features: torch.Tensor) -> torch.Tensor:
    stage = network.decoder.up[level]
    for place, block in enumerate(stage.block):
        features = block(features)
        if len(stage.attn):
            features = stage.attn[place](features)
    return features


def _ends(rows: int, band: int) -> tuple[int, ...]:
    """Rows after which a band ends. The first band is a single row, so that something is seen early."""
    first = 1 if band < rows else rows
    return (*range(first, rows, band), rows)


def _pixels(picture: torch.Tensor, where: str) -> Pixels:
    """[1, 3, height, width] in -1..1 to uint8 [height, width, 3]."""
    values = require_finite(picture, where, "decoder")[0].permute(1, 2, 0).float()
    return ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
