"""The first stage of following: the vision tower learns to see, the language model stays as it is.

The feature of each patch is drawn to what the language model already knows: the words of the noun that the tile shows,
and a little of the tile itself. (With the tile alone, the language model never found out which noun it saw: nothing in
drawing leads from tiles to words.) An empty patch becomes the ground's colour. Among the tiles of the batch the right
one must be the nearest. The pictures are scenes: tiles alone, by
lot, are learned much more slowly, for one tile tells less of its noun than its neighbours do. Resumable; must not
change what draws.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

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
from generation.training.world import sample_described

SEEN = "seeing.pt"
SHARPNESS = 30.0  # of the choice among the batch's tiles
TILE_SHARE = 0.5  # length of the tile's part, where a word has 1
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
    step: int = 0

    def train(self) -> None:
        begun = saved = time.monotonic()
        while (gone := (time.monotonic() - begun) / 60) < self.plan.minutes:
            loss = self.train_step(rate_share(self.plan, self.step, gone))
            if self.step % 50 == 0:
                _log.info("step %d, %.1f min, loss %.4f, tiles right %.3f", self.step, gone, loss, self.score())
            if time.monotonic() - saved > self.plan.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()

    def train_step(self, share: float = 1.0) -> float:
        codes = sample_codes(self.codebook, self.rng, self.plan.batch)
        loss = self._loss(codes)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(seeing_parameters(self.model).values()), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def _loss(self, codes: Tensor) -> Tensor:
        """How far from the right vector, and how unsure among those of the batch; every tile counts once."""
        wanted, seen = meant(codes, self.codebook.mosaic.empty), self._see(codes)
        chosen, places = torch.unique(wanted, return_inverse=True)
        places = places.flatten()
        counts = torch.bincount(places).float().clamp(max=8.0)[places]
        weights = counts.reciprocal() / counts.reciprocal().sum()
        flat = seen.flatten(0, 1)
        far = (flat - self.vectors[wanted.flatten()]).square().mean(-1) / self.vectors.var()
        logits = -torch.cdist(flat, self.vectors[chosen]).square() / self.vectors.var() / flat.shape[-1]
        unsure = functional.cross_entropy(logits * SHARPNESS, places, reduction="none")
        return ((far + unsure) * weights).sum()

    def _see(self, codes: Tensor) -> Tensor:
        return features(self.model, stack_pictures([self.codebook.mosaic.decode(row) for row in codes.tolist()]))

    @torch.no_grad()
    def score(self, pictures: int = 16) -> float:
        """Share of tiles of scenes, empty ones left out, whose feature is nearest to the right code of all codes."""
        rng = Random(self.plan.seed)  # noqa: S311 - a fixed evaluation set
        world = self.codebook.world
        scenes = [world.sample_held_out(rng, pair=number % 2 == 0) for number in range(pictures)]
        codes = encode_scenes(self.codebook, scenes)
        tiles = codes[:, 1:] != self.codebook.mosaic.empty
        nearest = torch.cdist(self._see(codes)[tiles], self.vectors).argmin(-1)
        return float((nearest == codes[:, 1:][tiles]).float().mean())

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


def sample_codes(codebook: Codebook, rng: Random, size: int) -> Tensor:
    """[size, 65]: scenes that training may see."""
    return encode_scenes(codebook, [sample_described(codebook.world, rng) for _ in range(size)])


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
) -> Tensor:
    """[codes, width]: the plain name in the language model's own words, as long as one word, a little of the tile."""
    words = model.model.language_model.embed_tokens

    def named(text: str) -> Tensor:
        parts: Tensor = words(torch.tensor(tokenizer(text)["input_ids"][1:]))
        whole: Tensor = parts.sum(0) / len(parts) ** 0.5
        return whole

    nouns = torch.stack([named(name) for name in codebook.world.names])
    grounds = torch.stack([named(name) for name in codebook.mosaic.names])
    tiles = model.prepare_embeddings_for_image_generation(torch.arange(codebook.mosaic.codes))
    little = TILE_SHARE * nouns.norm(dim=1).mean() / tiles.norm(dim=1).mean()
    origin = torch.from_numpy(codebook.origin[:, 0])
    nothing = torch.zeros_like(nouns[:1])  # the empty tile: never seen, its ground is
    known: Tensor = torch.cat([grounds, nothing, nouns[origin]]) + little * tiles
    return known


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
    vectors = known_vectors(codebook, model, tokenizer)
    rng = Random(plan.seed)  # noqa: S311 - reproducible training data
    seer = Seer(plan, codebook, model, build_optimizers(seeing_parameters(model), plan), rng, vectors)
    if resume and (plan.folder / SEEN).exists():
        seer.resume()
        _log.info("resumed seeing at step %d", seer.step)
    return seer
