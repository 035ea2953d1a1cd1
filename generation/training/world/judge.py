"""The judge: reads a picture by comparing it with the composed truth. Independent of all trained weights.

For each place of the asked scene, the icon whose true pixels are nearest by mean squared error; the ground is the
named colour nearest to the most common border colour. Exact on clean pictures, fair on noisy ones.
"""

from dataclasses import dataclass

import numpy as np

from generation.engines.mosaic import Pixels, blend
from generation.training.world.nouns import COLOURS
from generation.training.world.scene import COLUMNS, ROWS, TILE, TILES, Placed, Scene
from generation.training.world.world import World

MARGIN = 4  # pixels of the border that are read as ground; a pair may touch it, hence the median
STRAY = 24.0  # mean distance of a tile's pixels from the ground, above which something stands there; noise stays below


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the picture shows at the places where the scene should be."""

    ground: str
    nouns: tuple[str, ...]
    ground_right: bool
    nouns_right: bool
    rest_empty: bool  # nothing stands where the scene has nothing

    @property
    def right(self) -> bool:
        return self.ground_right and self.nouns_right

    @property
    def exact(self) -> bool:
        """Right, and nothing else is in the picture: an edit that removes must not leave anything behind."""
        return self.right and self.rest_empty


def read_ground(picture: Pixels) -> str:
    """The named colour nearest to the median of the border."""
    border = np.ones(picture.shape[:2], dtype=bool)
    border[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    seen = np.median(picture[border].astype(np.float32), axis=0)
    names = tuple(COLOURS)
    distances = ((np.array([COLOURS[name] for name in names], dtype=np.float32) - seen) ** 2).sum(axis=1)
    return names[int(distances.argmin())]


def read_noun(world: World, picture: Pixels, place: Placed, ground: str) -> str:
    """The noun whose icon, at this place and on this ground, is nearest to the picture."""
    icons = world.icons[place.size]
    side, top, left = icons.shape[1], place.row * TILE, place.column * TILE
    seen = picture[top : top + side, left : left + side].astype(np.float32)
    truths = blend(icons, np.array(COLOURS[ground], dtype=np.uint8)).astype(np.float32)
    errors = ((truths - seen) ** 2).mean(axis=(1, 2, 3))
    return world.names[int(errors.argmin())]


def read_rest(picture: Pixels, scene: Scene, ground: str) -> bool:
    """Whether the tiles around the objects show the ground and nothing else; one stray tile is forgiven."""
    far = np.abs(picture.astype(np.float32) - np.array(COLOURS[ground], dtype=np.float32)).mean(axis=2)
    tiles = far.reshape(ROWS, TILE, COLUMNS, TILE).mean(axis=(1, 3))
    for place in scene.places:
        side = TILES[place.size]
        tiles[place.row : place.row + side, place.column : place.column + side] = 0
    return int((tiles > STRAY).sum()) <= 1


def judge(world: World, picture: Pixels, scene: Scene) -> Verdict:
    """Read the picture at the places of the scene that was asked for."""
    ground = read_ground(picture)
    nouns = tuple(read_noun(world, picture, place, ground) for place in scene.places)
    return Verdict(ground, nouns, ground == scene.ground, nouns == scene.nouns, read_rest(picture, scene, scene.ground))
