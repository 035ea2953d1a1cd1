"""The judge: reads a picture by comparing it with the composed truth. Independent of all trained weights.

For each place of the asked scene, the icon whose true pixels are nearest by mean squared error; the ground is the
named colour nearest to the most common border colour. Exact on clean pictures, fair on noisy ones.
"""

from dataclasses import dataclass

import numpy as np

from generation.engines.mosaic import Pixels, blend
from generation.training.world.nouns import COLOURS
from generation.training.world.scene import TILE, Placed, Scene
from generation.training.world.world import World

MARGIN = 4  # pixels of the border that are read as ground; a pair may touch it, hence the median


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the picture shows at the places where the scene should be."""

    ground: str
    nouns: tuple[str, ...]
    ground_right: bool
    nouns_right: bool

    @property
    def right(self) -> bool:
        return self.ground_right and self.nouns_right


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


def judge(world: World, picture: Pixels, scene: Scene) -> Verdict:
    """Read the picture at the places of the scene that was asked for."""
    ground = read_ground(picture)
    nouns = tuple(read_noun(world, picture, place, ground) for place in scene.places)
    return Verdict(ground, nouns, ground == scene.ground, nouns == scene.nouns)
