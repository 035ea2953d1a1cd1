"""The world: rendered icons, the scenes that may be sampled, and their true pictures.

Build it once (`World.build(cache)` renders into an .npz and reads that the next time). Holds no torch and no model:
both trainers, the evaluation and the judge use the same world.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Self

import numpy as np

from generation.engines.mosaic import Pixels, blend
from generation.training.world.icons import icon_bodies, render_all, training_dir
from generation.training.world.nouns import COLOURS, NOUNS, Noun
from generation.training.world.scene import CANVAS, RELATIONS, TILE, Scene, Size
from generation.training.world.split import held_out, held_out_ground, held_out_pair

PAIRS, SMALL = 0.55, 0.15  # share of pairs among all scenes; share of small ones among single objects


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The nouns and their icons, by size: uint8 [nouns, side, side, 4]."""

    nouns: tuple[Noun, ...]
    icons: Mapping[Size, Pixels]

    @classmethod
    def build(cls, cache: Path | None = None, nouns: tuple[Noun, ...] = NOUNS) -> Self:
        """Fetch and render what is not cached yet, which takes about 20 seconds the first time."""
        cache = cache or training_dir() / "cache"
        key = hashlib.sha256("|".join(noun.icon for noun in nouns).encode()).hexdigest()[:12]
        path = cache / f"world-{key}.npz"
        if not path.exists():
            cls.from_bodies(nouns, icon_bodies(cache)).save(path)
        with np.load(path) as stored:
            return cls(nouns, {"large": stored["large"], "small": stored["small"]})

    @classmethod
    def from_bodies(cls, nouns: Sequence[Noun], bodies: Mapping[str, str]) -> Self:
        """A world from SVG bodies by icon name; tests use a few inline ones."""
        return cls(tuple(nouns), render_all(nouns, bodies))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez_compressed(unfinished, large=self.icons["large"], small=self.icons["small"])
        unfinished.replace(path)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(noun.name for noun in self.nouns)

    def icon(self, noun: str, size: Size) -> Pixels:
        icon: Pixels = self.icons[size][self.names.index(noun)]
        return icon

    def sample(self, rng: Random) -> Scene:
        """A scene for training: never one that is held out."""
        return self._draw(rng, pair=rng.random() < PAIRS, wanted=False)

    def sample_held_out(self, rng: Random, *, pair: bool) -> Scene:
        """A scene for evaluation: a combination that training never saw."""
        return self._draw(rng, pair=pair, wanted=True)

    def _draw(self, rng: Random, *, pair: bool, wanted: bool) -> Scene:
        names = self.names
        while True:
            ground = rng.choice(tuple(COLOURS))
            if not pair:
                size: Size = "small" if rng.random() < SMALL else "large"
                scene = Scene(rng.choice(names), ground, size=size)
            else:
                first, second = rng.sample(names, 2)
                scene = Scene(first, ground, second, rng.choice(RELATIONS))
            if held_out(scene) is wanted:
                return scene

    def compose(self, scene: Scene) -> Pixels:
        """The true picture: uint8 [128, 128, 3]."""
        ground = np.array(COLOURS[scene.ground], dtype=np.uint8)
        canvas = np.broadcast_to(ground, (CANVAS, CANVAS, 3)).copy()
        for place in scene.places:
            icon = self.icon(place.noun, place.size)
            side, top, left = len(icon), place.row * TILE, place.column * TILE
            canvas[top : top + side, left : left + side] = blend(icon, ground)
        return canvas


__all__ = ["World", "held_out_ground", "held_out_pair"]
