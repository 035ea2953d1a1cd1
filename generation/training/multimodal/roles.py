"""Roles: what an object is in its picture, the one on the left, the lower one, a small one alone.

The vision tower learns to say it with each patch, in the language model's own words, so that words and patches can
be looked up in one way. Must not know pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from generation.training.world import COLUMNS, PAIR_SPOTS, ROWS, TILES, Scene, Spot

ROLES = ("", "left", "right", "above", "below", "small", "large")  # "" is the ground
SPOT_ROLES: Mapping[Spot, str] = {"left": "left", "right": "right", "top": "above", "bottom": "below"}


def scene_roles(scene: Scene) -> tuple[str, ...]:
    """The role of each of its objects."""
    if scene.relation is None:
        return (scene.size,)
    return tuple(SPOT_ROLES[spot] for spot in PAIR_SPOTS[scene.relation])


def patch_roles(scenes: Sequence[Scene]) -> Tensor:
    """[n, 64]: numbers of ROLES; a patch within an object has its role, even where the icon is transparent."""
    roles = torch.zeros((len(scenes), ROWS, COLUMNS), dtype=torch.long)
    for row, scene in zip(roles, scenes, strict=True):
        for place, role in zip(scene.places, scene_roles(scene), strict=True):
            side = TILES[place.size]
            row[place.row : place.row + side, place.column : place.column + side] = ROLES.index(role)
    return roles.flatten(1)
