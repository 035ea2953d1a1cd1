"""The mosaic: picture codes to pixels by table look-up, for checkpoints whose codebook is a dictionary of tiles.

A picture is `tokens` codes: the ground colour, then the tiles row by row. Codes below `len(grounds)` are grounds,
the next one is the empty tile, the rest are RGBA tiles. Decoding is exact and local, so a tile can be shown the
moment its code is drawn. Must not import torch or Django: the portal may decode without either.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import load_file, save_file

from generation.engines.fragments import Pixels as Pixels  # the makers of starters take it from here

LAYOUT_FILE = "mosaic.json"
TABLES_FILE = "mosaic.safetensors"
VERSION = 2
UNFIT = "The mosaic's tables do not match its layout: fetch the checkpoint again."


class MosaicError(ValueError):
    """The folder, or the codes asked for, do not make a picture."""

    code = "mosaic_invalid"


def blend(tiles: Pixels, ground: Pixels) -> Pixels:
    """RGBA over one flat colour, in integers so that every machine gets the same bytes."""
    alpha = tiles[..., 3:].astype(np.uint32)
    mixed = tiles[..., :3] * alpha + ground.astype(np.uint32) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _unpacked(alphas: Pixels, colours: Pixels) -> Pixels:
    """RGBA tiles from [N, tile, tile] alphas and the [visible pixels, 3] colours."""
    seen = alphas > 0
    if colours.shape != (int(seen.sum()), 3):
        raise MosaicError(UNFIT)
    tiles = np.zeros((*alphas.shape, 4), dtype=np.uint8)
    tiles[..., 3] = alphas
    tiles[..., :3][seen] = colours
    return tiles


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """The tables of one checkpoint. Immutable, so it may be shared between requests."""

    names: tuple[str, ...]
    grounds: Pixels  # [G, 3]
    tiles: Pixels  # [N, tile, tile, 4]; row 0 is the empty tile, so that code G + n is row n
    grid: tuple[int, int]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read `mosaic.json` and `mosaic.safetensors`; refuses what does not fit together."""
        layout = json.loads((Path(folder) / LAYOUT_FILE).read_text(encoding="utf-8"))
        if layout.get("version") != VERSION:
            raise MosaicError(f"Mosaic version {layout.get('version')} is not {VERSION}: update Tessera.")
        tables = load_file(Path(folder) / TABLES_FILE)
        grounds, side = tables["grounds"], int(layout["tile"])
        tiles = _unpacked(tables["alphas"], tables["colours"])
        if grounds.shape != (len(layout["grounds"]), 3) or tiles.shape[1:] != (side, side, 4):
            raise MosaicError(UNFIT)
        empty = np.zeros((1, side, side, 4), dtype=np.uint8)
        grid = (int(layout["rows"]), int(layout["columns"]))
        return cls(tuple(layout["grounds"]), grounds, np.concatenate([empty, tiles]), grid)

    def save(self, folder: str | Path) -> None:
        """Write the two files; the empty tile, and colours that nobody can see, are implied and not stored."""
        rows, columns = self.grid
        layout = {"version": VERSION, "tile": self.tile_side, "rows": rows, "columns": columns}
        text = json.dumps({**layout, "grounds": list(self.names)}, indent=1)
        (Path(folder) / LAYOUT_FILE).write_text(text + "\n", encoding="utf-8")
        alphas = np.ascontiguousarray(self.tiles[1:, :, :, 3])
        colours = np.ascontiguousarray(self.tiles[1:, :, :, :3][alphas > 0])
        tables = {"grounds": np.ascontiguousarray(self.grounds), "alphas": alphas, "colours": colours}
        save_file(tables, Path(folder) / TABLES_FILE)

    @property
    def tile_side(self) -> int:
        return int(self.tiles.shape[1])

    @property
    def tokens(self) -> int:
        """Codes in one picture: the ground, then one per place."""
        return 1 + self.grid[0] * self.grid[1]

    @property
    def codes(self) -> int:
        """Size of the code space: grounds, the empty tile, tiles."""
        return len(self.grounds) + len(self.tiles)

    @property
    def empty(self) -> int:
        """The code of the empty tile."""
        return len(self.grounds)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return self.grid[1] * self.tile_side, self.grid[0] * self.tile_side

    def allowed(self, position: int) -> slice:
        """The codes that make sense at this position; a sampler masks the others."""
        if not 0 <= position < self.tokens:
            raise MosaicError(f"Position {position} is outside a picture of {self.tokens} codes.")
        return slice(0, self.empty) if position == 0 else slice(self.empty, self.codes)

    def check(self, codes: Sequence[int]) -> None:
        """Raise MosaicError unless every code is allowed where it stands."""
        for position, code in enumerate(codes):
            allowed = self.allowed(position)
            if not allowed.start <= code < allowed.stop:
                raise MosaicError(f"Code {code} is not allowed at position {position}.")

    def tile(self, code: int, ground: int) -> Pixels:
        """One tile over the ground with this code."""
        self.check((ground, code))
        return blend(self.tiles[code - self.empty], self.grounds[ground])

    def rows(self, codes: Sequence[int]) -> Pixels:
        """A picture from its first codes (at least the ground); places not drawn yet show the plain ground."""
        if not len(codes):
            raise MosaicError("A picture begins with its ground colour: no codes were given.")
        self.check(codes)
        rows, columns = self.grid
        places = np.zeros(rows * columns, dtype=np.int64)
        places[: len(codes) - 1] = np.asarray(codes[1:], dtype=np.int64) - self.empty
        side = self.tile_side
        pixels = blend(self.tiles[places], self.grounds[codes[0]])
        pixels = pixels.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
        return np.ascontiguousarray(pixels.reshape(rows * side, columns * side, 3))

    def decode(self, codes: Sequence[int]) -> Pixels:
        """The whole picture, uint8 [height, width, 3]."""
        if len(codes) != self.tokens:
            raise MosaicError(f"A picture has {self.tokens} codes, not {len(codes)}.")
        return self.rows(codes)
