"""From picture codes to pixels with the decoder of Emu3, which was made for films.

A still picture is a film of one frame of codes, of which the library decodes four frames of pixels and keeps the first.
What is told over time only looks back, so the first frame needs nothing of the others: decoded alone it is the same.
"""

import torch
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE

from generation.engines.decoder import HALO, Patch
from generation.engines.emu3_prompt import Grid
from generation.engines.fragments import Pixels
from generation.engines.precision import require_finite

BANDS = 24  # patches of a picture: a row of codes takes long at this size, and a band costs little beside it


class Emu3Decoder:
    """A StreamingDecoder on bands of rows, as JanusDecoder does it: close while codes come, the final exact.

    `mean` and `deviation` are those that pictures were prepared with for the network, per colour.
    """

    def __init__(
        self,
        network: Emu3VQVAE,
        grid: Grid,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        *,
        band_rows: int | None = None,
    ) -> None:
        self._network = network
        self._scale = network.spatial_scale_factor
        self._rows, self._columns = grid
        self._mean, self._deviation = (torch.tensor(values).view(3, 1, 1) for values in (mean, deviation))
        self._band_rows = band_rows or max(1, self._rows // BANDS)
        self._all = slice(0, network.config.codebook_size)
        self.codes: list[int] = []
        self.width, self.height = self._columns * self._scale, self._rows * self._scale
        self.tokens = self._rows * self._columns

    def allowed(self, position: int) -> slice:
        """Every code, everywhere."""
        return self._all

    def feed(self, code: int) -> Patch | None:
        """A band of rows at a time."""
        self.codes.append(code)
        rows, rest = divmod(len(self.codes), self._columns)
        if rest or (rows % self._band_rows and rows != self._rows):
            return None
        first = (rows - 1) // self._band_rows * self._band_rows
        return Patch(0, first * self._scale, self._decode_band(first, rows))

    @torch.inference_mode()
    def final(self) -> Pixels:
        """One full decode."""
        return self._pixels(self._upper(*self._trunk(self.codes)), "picture decoder")

    @torch.inference_mode()
    def _decode_band(self, first: int, last: int) -> Pixels:
        missing = self._rows - last
        features, entries = self._trunk(self.codes + self.codes[-self._columns :] * missing)
        top, bottom = max(0, first - HALO), min(self._rows, last + HALO)
        band = self._upper(features[:, :, top:bottom], entries[:, :, top:bottom])
        start = (first - top) * self._scale
        return self._pixels(band[:, :, start : start + (last - first) * self._scale], "picture decoder, band")

    def _trunk(self, codes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features at the codes' own resolution, where the attention is, and the entries that later norms look at."""
        network, decoder = self._network, self._network.decoder
        ids = torch.tensor(codes, device=network.quantize.embedding.weight.device)
        entries = network.quantize.embedding(ids).view(1, 1, self._rows, self._columns, -1).permute(0, 4, 1, 2, 3)
        both = torch.cat((network.post_quant_conv(entries), entries))  # [2, channels, time, rows, columns]
        for layer in decoder.time_res_stack:
            both = layer(both)
        for layer in decoder.time_conv:
            both = layer.conv(both)  # the frame that its upsampling repeats first
            both = both * torch.sigmoid(both)
        features, entries = both[:, :, 0].chunk(2)
        features = decoder.middle_block(decoder.conv_in(features), entries)
        return self._stage(-1, features, entries), entries

    def _upper(self, features: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        """Features to picture; local but for the norms."""
        decoder = self._network.decoder
        for level in reversed(range(decoder.up_block.num_resolutions - 1)):
            features = self._stage(level, decoder.up_block.up[level + 1].upsample(features), entries)
        features = decoder.norm_out(features, entries)
        picture: torch.Tensor = decoder.conv_out(features * torch.sigmoid(features))
        return picture

    def _stage(self, level: int, features: torch.Tensor, entries: torch.Tensor) -> torch.Tensor:
        stage = self._network.decoder.up_block.up[level]
        for place, block in enumerate(stage.block):
            features = block(features, entries)
            if len(stage.attn):
                features = features + _attend(stage.attn[place], stage.attn_norms[place](features, entries))
        return features

    def _pixels(self, picture: torch.Tensor, where: str) -> Pixels:
        """[1, 3, height, width] to uint8 [height, width, 3], cut off as the library does it, not rounded."""
        values = require_finite(picture, where, "decoder")[0].float().cpu()
        values = ((values * self._deviation + self._mean) * 255).clamp(0, 255).to(torch.uint8)
        return values.permute(1, 2, 0).contiguous().numpy()


def _attend(attention: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Attention over all places of a picture."""
    batch, channels, height, width = features.shape
    flat: torch.Tensor = attention(features.reshape(batch, channels, height * width).transpose(1, 2))[0]
    return flat.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
