"""The codebook: the world's icons cut into tiles, each distinct tile once, and scenes written as codes.

Must not know the network; it owns the order of the codes, which is the order of the nouns and never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from generation.engines.mosaic import Mosaic, Pixels
from generation.training.world import COLOURS, COLUMNS, ROWS, TILE, Scene, Size, World

Codes = NDArray[np.int64]
SIZES: tuple[Size, ...] = ("large", "small")


def cut(icon: Pixels) -> Pixels:
    """One icon into its tiles, row by row: uint8 [tiles, 16, 16, 4]."""
    side = len(icon) // TILE
    tiles = icon.reshape(side, TILE, side, TILE, 4).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(tiles.reshape(side * side, TILE, TILE, 4))


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """`grids[size][noun]` are the codes of an icon's tiles; `origin` says where each stored tile was cut first."""

    world: World
    mosaic: Mosaic
    grids: Mapping[Size, Codes]  # [nouns, side, side]
    origin: Codes  # [stored tiles, 2]: noun, cell (large cells first, then small ones)

    @classmethod
    def build(cls, world: World) -> Self:
        """Noun by noun, so that appending nouns leaves the codes before them as they are."""
        empty = len(COLOURS)
        known: dict[bytes, int] = {bytes(TILE * TILE * 4): empty}
        tiles, origin = [np.zeros((TILE, TILE, 4), dtype=np.uint8)], []
        rows: dict[Size, list[Codes]] = {size: [] for size in SIZES}
        for noun in range(len(world.nouns)):
            first_cell = 0
            for size in SIZES:
                codes = []
                for cell, tile in enumerate(cut(world.icons[size][noun])):
                    key = tile.tobytes()
                    if key not in known:
                        known[key] = empty + len(tiles)
                        tiles.append(tile)
                        origin.append((noun, first_cell + cell))
                    codes.append(known[key])
                first_cell += len(codes)
                side = int(len(codes) ** 0.5)
                rows[size].append(np.array(codes, dtype=np.int64).reshape(side, side))
        grounds = np.array(list(COLOURS.values()), dtype=np.uint8)
        mosaic = Mosaic(tuple(COLOURS), grounds, np.stack(tiles), (ROWS, COLUMNS))
        grids: dict[Size, Codes] = {size: np.stack(grid) for size, grid in rows.items()}
        return cls(world, mosaic, grids, np.array(origin, dtype=np.int64).reshape(-1, 2))

    def encode(self, scene: Scene) -> Codes:
        """The scene as 65 codes; `mosaic.decode` of them is `world.compose` of the scene, to the byte."""
        places = np.full((ROWS, COLUMNS), self.mosaic.empty, dtype=np.int64)
        for place in scene.places:
            grid = self.grids[place.size][self.world.names.index(place.noun)]
            side = len(grid)
            places[place.row : place.row + side, place.column : place.column + side] = grid
        ground = self.mosaic.names.index(scene.ground)
        return np.concatenate([[ground], places.ravel()]).astype(np.int64)

    @property
    def cells(self) -> int:
        """How many different cells icons have, all sizes together."""
        return sum(int(grid.shape[1] * grid.shape[2]) for grid in self.grids.values())
