"""A growing pool of scenes with their latents, so that the denoiser's training seldom runs the autoencoder.

A few new scenes are encoded at every step and then met again and again under new words and new noise.
Must hold training scenes only; `World.sample` sees to that.
"""

from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from generation.training.diffusion.autoencoder import to_tensor
from generation.training.diffusion.progress import load, save
from generation.training.world import Scene, World

LARGEST = 30_000  # of each kind; 2 KB each


@torch.no_grad()
def encode(network: AutoencoderKL, world: World, scenes: list[Scene]) -> Tensor:
    """The middle of the posterior, one picture at a time: that keeps the activations in the cache."""
    pictures = (to_tensor([world.compose(scene)]) for scene in scenes)
    hidden: Tensor = torch.cat([network.encode(picture).latent_dist.mean for picture in pictures])
    return hidden


class Pool:
    """Single and paired scenes apart, so that training can choose how many of each it wants."""

    def __init__(self, world: World, network: AutoencoderKL) -> None:
        self.world, self.network = world, network
        self.scenes: dict[bool, list[Scene]] = {False: [], True: []}
        self.latents: dict[bool, list[Tensor]] = {False: [], True: []}

    def grow(self, rng: Random, count: int, known: frozenset[str], *, pair: bool) -> None:
        if len(self.scenes[pair]) >= LARGEST:
            return
        scenes = [self._sample(rng, known, pair=pair) for _ in range(count)]
        self.scenes[pair] += scenes
        self.latents[pair] += list(encode(self.network, self.world, scenes).half())

    def _sample(self, rng: Random, known: frozenset[str], *, pair: bool) -> Scene:
        while True:
            scene = self.world.sample(rng)
            if (scene.second is not None) is pair and known.issuperset(scene.nouns):
                return scene

    def draw(self, rng: Random, pairs: list[bool]) -> tuple[list[Scene], Tensor]:
        places = [(pair, rng.randrange(len(self.scenes[pair]))) for pair in pairs]
        scenes = [self.scenes[pair][place] for pair, place in places]
        return scenes, torch.stack([self.latents[pair][place] for pair, place in places]).float()

    def save(self, path: Path, mark: str) -> None:
        packed = [
            ([asdict(scene) for scene in self.scenes[pair]], torch.stack(self.latents[pair])) for pair in (False, True)
        ]
        save(path, {"mark": mark, "kinds": packed})

    def load(self, path: Path, mark: str, known: frozenset[str]) -> None:
        """What an earlier run encoded of the known nouns, unless the autoencoder has changed (`mark` tells)."""
        if not path.exists():
            return
        state: dict[str, Any] = load(path)
        if state["mark"] == mark:
            for pair, (scenes, latents) in zip((False, True), state["kinds"], strict=True):
                told = [Scene(**scene) for scene in scenes]
                kept = [place for place, scene in enumerate(told) if known.issuperset(scene.nouns)]
                self.scenes[pair] = [told[place] for place in kept]
                self.latents[pair] = [latents[place] for place in kept]
