"""Which combinations training never sees. One hash of the names, so the split needs no file and never moves.

Used by the sampler, the trainers and the evaluation; must stay pure, or scores stop being comparable.
"""

import hashlib

from generation.training.world.scene import Scene

HELD_OUT = 26  # of 256: about 10 %


def _bucket(*names: str) -> int:
    return hashlib.sha256("|".join(names).encode()).digest()[0]


def held_out_pair(first: str, second: str) -> bool:
    """Whether these two nouns are never shown together, in whatever order and place."""
    return _bucket("pair", *sorted((first, second))) < HELD_OUT


def held_out_ground(noun: str, ground: str) -> bool:
    """Whether this noun, alone, is never shown on this ground."""
    return _bucket("ground", noun, ground) < HELD_OUT


def held_out(scene: Scene) -> bool:
    """Whether this scene belongs to the evaluation."""
    if scene.second is None:
        return held_out_ground(scene.first, scene.ground)
    return held_out_pair(scene.first, scene.second)
