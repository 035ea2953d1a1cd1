"""The first stage of following: the vision tower learns to see, the language model stays as it is.

The feature of each patch is drawn to what the language model already knows: the words of the noun that the tile shows,
the word of the object's role, and a little of the tile itself. (With the tile alone, the language model never found out
which noun it saw: nothing in drawing leads from tiles to words; without the role it mixed two objects up.) An empty
patch becomes the ground's colour. Among the meanings of the batch the right one must be the nearest. The pictures are
scenes: tiles alone, by lot, are learned much more slowly, for one tile tells less of its noun than its neighbours do.
Resumable; must not change what draws.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.training.multimodal.architecture import seeing_parameters
from generation.training.multimodal.batches import encode_scenes
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.looking import features, stack_pictures
from generation.training.multimodal.optimizers import build_optimizers
from generation.training.multimodal.plan import Plan, rate_share
from generation.training.multimodal.roles import ROLES, patch_roles
from generation.training.world import Scene, sample_described

SEEN = "seeing.pt"
SHARPNESS = 30.0  # of the choice among the batch's tiles
TILE_SHARE, ROLE_SHARE = 0.5, 0.6  # lengths of the tile's and the role's part, where a noun has 1
STRANGE = 0.4  # of the pictures are on a ground of any colour; only their objects count
NOISE, WORN, BLURRED = 10.0, 0.5, 0.2  # how uneven pixels may be, in how many pictures, and how many are blurred
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Seer:
    """What a checkpoint of this stage holds, and the loop over it."""

    plan: Plan
    codebook: Codebook
    model: JanusForConditionalGeneration
    optimizers: tuple[Optimizer, ...]
    rng: Random
    vectors: Tensor  # [codes, width]: what each code is to be seen as
    roles: Tensor  # [roles, width]: and what is added for its object's role
    step: int = 0

    def train(self) -> None:
        begun = saved = time.monotonic()
        while (gone := (time.monotonic() - begun) / 60) < self.plan.minutes:
            loss = self.train_step(rate_share(self.plan, self.step, gone))
            if self.step % 50 == 0:
                _log.info(
                    "step %d, %.1f min, loss %.4f, tiles right %.3f, roles %.3f", self.step, gone, loss, *self.score()
                )
            if time.monotonic() - saved > self.plan.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()

    def train_step(self, share: float = 1.0) -> float:
        loss = self._loss([sample_described(self.codebook.world, self.rng) for _ in range(self.plan.batch)])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(seeing_parameters(self.model).values()), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def _loss(self, scenes: Sequence[Scene]) -> Tensor:
        """How far from the right vector, and how unsure among those of the batch; every meaning counts once."""
        codes, count = encode_scenes(self.codebook, scenes), len(self.roles)
        wanted = meant(codes, self.codebook.mosaic.empty) * count + patch_roles(scenes)
        chosen, places = torch.unique(wanted, return_inverse=True)
        places = places.flatten()
        counts = torch.bincount(places).float().clamp(max=8.0)[places]
        strange = torch.rand(len(codes)) < STRANGE
        nameless = strange.unsqueeze(1) & (codes[:, 1:] == self.codebook.mosaic.empty)
        weights = counts.reciprocal() * ~nameless.flatten()
        weights = weights / weights.sum()
        vectors = self.vectors[chosen // count] + self.roles[chosen % count]
        flat = features(self.model, worn(self._pictures(codes, strange))).flatten(0, 1)
        far = (flat - vectors[places]).square().mean(-1) / self.vectors.var()
        logits = -torch.cdist(flat, vectors).square() / self.vectors.var() / flat.shape[-1]
        unsure = functional.cross_entropy(logits * SHARPNESS, places, reduction="none")
        return ((far + unsure) * weights).sum()

    def _pictures(self, codes: Tensor, strange: Tensor | None = None) -> Tensor:
        """On their grounds; the `strange` ones on colours that have no name, so that a noun is seen on any ground."""
        mosaic, pictures = self.codebook.mosaic, []
        for row, other in zip(codes.tolist(), [False] * len(codes) if strange is None else strange, strict=True):
            grounds = np.frombuffer(self.rng.randbytes(mosaic.grounds.size), np.uint8).reshape(mosaic.grounds.shape)
            pictures.append((replace(mosaic, grounds=grounds) if other else mosaic).decode(row))
        return stack_pictures(pictures)

    @torch.no_grad()
    def score(self, pictures: int = 16) -> tuple[float, float]:
        """Shares of tiles of scenes, empty ones left out, that are seen as the right one of all codes and roles."""
        rng = Random(self.plan.seed)  # noqa: S311 - a fixed evaluation set
        world = self.codebook.world
        scenes = [world.sample_held_out(rng, pair=number % 2 == 0) for number in range(pictures)]
        codes, roles = encode_scenes(self.codebook, scenes), patch_roles(scenes)
        tiles = codes[:, 1:] != self.codebook.mosaic.empty
        seen = features(self.model, self._pictures(codes))[tiles]
        codes, roles = codes[:, 1:][tiles], roles[tiles]
        codes_right = torch.cdist(seen - self.roles[roles], self.vectors).argmin(-1) == codes
        roles_right = torch.cdist(seen - self.vectors[codes], self.roles).argmin(-1) == roles
        return float(codes_right.float().mean()), float(roles_right.float().mean())

    def save(self) -> None:
        path = self.plan.folder / SEEN
        unfinished = path.with_suffix(".part")
        state = {
            "model": {name: value.detach() for name, value in seeing_parameters(self.model).items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        torch.save(state, unfinished)
        unfinished.replace(path)

    def resume(self) -> None:
        state = load_seeing(self.model, self.plan.folder / SEEN)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
        self.rng.seed(self.plan.seed + self.step)


def meant(codes: Tensor, empty: int) -> Tensor:
    """[n, 64]: the code that each patch shows; an empty patch shows its ground."""
    return torch.where(codes[:, 1:] == empty, codes[:, :1], codes[:, 1:])


def worn(pictures: Tensor) -> Tensor:
    """Uneven pixels in some pictures and a soft lens in others, as in those that come back from elsewhere."""
    strength = torch.rand(len(pictures), 1, 1, 1) * NOISE * (torch.rand(len(pictures), 1, 1, 1) < WORN)
    soft = torch.rand(len(pictures)) < BLURRED
    pixels = pictures.float()
    pixels[soft] = functional.avg_pool2d(pixels[soft], 3, stride=1, padding=1, count_include_pad=False)
    return (pixels + torch.randn_like(pixels) * strength).clamp(0, 255)


def load_seeing(model: JanusForConditionalGeneration, path: Path) -> dict[str, Any]:
    """Put the vision tower of this checkpoint into the model."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    parameters = seeing_parameters(model)
    with torch.no_grad():
        for name, value in state["model"].items():
            parameters[name].copy_(value)
    return state


@torch.no_grad()
def known_vectors(
    codebook: Codebook, model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> tuple[Tensor, Tensor]:
    """[codes, width]: the plain name in the language model's own words, as long as one word, a little of the tile.

    And [roles, width]: the role's word, shorter.
    """
    words = model.model.language_model.embed_tokens

    def named(text: str) -> Tensor:
        parts: Tensor = words(torch.tensor(tokenizer(text)["input_ids"][1:]))
        whole: Tensor = parts.sum(0) / len(parts) ** 0.5
        return whole

    nouns = torch.stack([named(name) for name in codebook.world.names])
    grounds = torch.stack([named(name) for name in codebook.mosaic.names])
    tiles = model.prepare_embeddings_for_image_generation(torch.arange(codebook.mosaic.codes))
    length = nouns.norm(dim=1).mean()
    little = TILE_SHARE * length / tiles.norm(dim=1).mean()
    origin = torch.from_numpy(codebook.origin[:, 0])
    nothing = torch.zeros_like(nouns[:1])  # the empty tile: never seen, its ground is
    known: Tensor = torch.cat([grounds, nothing, nouns[origin]]) + little * tiles
    roles = functional.normalize(torch.stack([named(role) for role in ROLES[1:]]), dim=1)
    return known, torch.cat([nothing, ROLE_SHARE * length * roles])


def build_seer(
    plan: Plan,
    codebook: Codebook,
    model: JanusForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    *,
    resume: bool = False,
) -> Seer:
    """From an untrained tower, or from the last checkpoint in the plan's folder if there is one."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    rng = Random(plan.seed)  # noqa: S311 - reproducible training data
    optimizers = build_optimizers(seeing_parameters(model), plan)
    seer = Seer(plan, codebook, model, optimizers, rng, *known_vectors(codebook, model, tokenizer))
    if resume and (plan.folder / SEEN).exists():
        seer.resume()
        _log.info("resumed seeing at step %d", seer.step)
    return seer
