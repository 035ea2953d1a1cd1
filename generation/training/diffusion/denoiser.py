"""Stage two: the denoiser and its text encoder learn which latents the words mean.

A caption says nearly everything about a picture here, so most steps are taken at high noise, where the words alone
decide; few nouns and single objects come first,
more nouns and pairs follow. Must not change the autoencoder.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTokenizer

from generation.training.diffusion import networks, words
from generation.training.diffusion.autoencoder import STAGE as AUTOENCODER
from generation.training.diffusion.latents import Pool, encode
from generation.training.diffusion.muon import muon_for
from generation.training.diffusion.progress import (
    OURS,
    SAVE_SECONDS,
    Average,
    Budget,
    Curve,
    Setting,
    checkpoint_path,
    load,
    noise,
    save,
    set_rate,
    weights_of,
)
from generation.training.world import World, caption

STAGE = "denoiser"
RATE = 1.5e-3
BATCH, FRESH = 32, 3  # scenes per step; how many of them are encoded anew and join the pool
FIRST_POOL = 128  # of each kind
WHITE_SCENES = 64
WORDLESS = 0.1  # share of empty captions, which guidance needs
PAIRS_FROM, PAIRS_TO, PAIRS_STEPS = 0.1, 0.5, 4000
FULL_NOISE = 0.5  # share of pictures that are nothing but noise, so that the words alone must do
HIGH_NOISE = 2.0  # for the others; 1 would draw all noise levels alike
NOUNS_FROM, NOUNS_DOUBLE = 24, 100  # how many nouns at first; after how many steps twice as many
PLAIN = ("conv_in", "conv_out", "embedding.weight", "positional_embedding")
_log = logging.getLogger(__name__)


def pair_share(step: int) -> float:
    return PAIRS_FROM + (PAIRS_TO - PAIRS_FROM) * min(1.0, step / PAIRS_STEPS)


def known_nouns(names: Sequence[str], step: int, setting: Setting = OURS) -> frozenset[str]:
    """Few nouns first. With all of them at once, hundreds of steps teach the ground only and no noun at all."""
    mixed = list(names)
    setting.draw("nouns", 0).shuffle(mixed)
    return frozenset(mixed[: int(NOUNS_FROM * 2 ** min(step / NOUNS_DOUBLE, 20))])


def settled_autoencoder(world: World, setting: Setting = OURS) -> tuple[AutoencoderKL, str]:
    """The averaged autoencoder with white latents, and a mark of its encoder, by which cached latents are told apart.

    How to whiten is measured once and kept: measured again, in a world with more nouns, it would come out a little
    different, and the denoiser's latents would no longer be the decoder's.
    """
    state = load(setting.checkpoint(AUTOENCODER))
    network = networks.autoencoder()
    network.load_state_dict(weights_of(state, AUTOENCODER))
    network.requires_grad_(False)
    mark, path = encoder_mark(network), setting.checkpoint("white")
    if not path.exists() or load(path)["mark"] != mark:
        rng = setting.draw("whiten", 0)
        mean, covariance = networks.spread(encode(network, world, [world.sample(rng) for _ in range(WHITE_SCENES)]))
        save(path, {"mark": mark, "mean": mean, "covariance": covariance})
    white = load(path)
    networks.whiten(network, white["mean"], white["covariance"])
    return network, mark


def encoder_mark(network: AutoencoderKL) -> str:
    weights = [*network.encoder.state_dict().values(), *network.quant_conv.state_dict().values()]
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights)).hexdigest()


class Run:
    """Denoiser, text encoder, optimiser and averages, as they stand after `step` steps."""

    def __init__(self, tokenizer: CLIPTokenizer, setting: Setting = OURS) -> None:
        torch.manual_seed(setting.seed)
        self.setting = setting
        self.tokenizer = tokenizer
        self.networks: dict[str, nn.Module] = {
            "unet": networks.denoiser(),
            "text_encoder": networks.text_encoder(tokenizer.eos_token_id),
        }
        self.optimizer = muon_for(self.networks.values(), RATE, PLAIN)
        self.averages = {name: Average(network, keep=0.998) for name, network in self.networks.items()}
        self.alphas = networks.scheduler().alphas_cumprod
        self.step = 0
        self.curve = Curve()

    def state(self) -> dict[str, Any]:
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "averages": {name: average.weights for name, average in self.averages.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "curve": self.curve.points,
        }

    def resume(self, state: dict[str, Any]) -> None:
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
            self.averages[name].weights = state["averages"][name]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.curve = state["step"], Curve(state["curve"])

    def advance(self, pool: Pool, budget: Budget) -> float:
        """One step; returns its loss."""
        rng = self.setting.draw(STAGE, self.step)
        share, known = pair_share(self.step), known_nouns(pool.world.names, self.step, self.setting)
        for pair in (False, True):
            if len(pool.scenes[pair]) < FIRST_POOL or (rng.random() < share) is pair:
                pool.grow(rng, FRESH, known, pair=pair)
        scenes, latents = pool.draw(rng, [rng.random() < share for _ in range(BATCH)])
        texts = ["" if rng.random() < WORDLESS else caption(scene, rng) for scene in scenes]
        set_rate(self.optimizer, budget.rate(RATE))
        loss = self.loss(latents, texts, rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        for name, network in self.networks.items():
            self.averages[name].update(network, self.step)
        self.step += 1
        budget.taken += 1
        self.curve.add(self.step, float(loss.detach()))
        return float(loss.detach())

    def loss(self, latents: Tensor, texts: list[str], rng: Random) -> Tensor:
        """Mean squared error of the velocity, which at full noise is that of the picture itself."""
        times = noise_levels(len(latents), rng)
        signal = self.alphas[times].sqrt()[:, None, None, None]
        spread = (1 - self.alphas[times]).sqrt()[:, None, None, None]
        grain = torch.randn(latents.shape, generator=noise(rng))
        tokens = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=words.LENGTH, return_tensors="pt"
        )
        hidden = self.networks["text_encoder"](tokens.input_ids)[0]
        velocity = self.networks["unet"](signal * latents + spread * grain, times, hidden).sample
        error: Tensor = (velocity - (signal * grain - spread * latents)).square().mean()
        return error


def noise_levels(count: int, rng: Random) -> Tensor:
    """Pure noise for some; for the rest one from each of equal slices, so that a small batch still sees them all."""
    pure = int(count * FULL_NOISE)
    places = [((place + rng.random()) / (count - pure)) ** HIGH_NOISE for place in range(count - pure)]
    levels = [networks.TRAIN_STEPS - 1 - int(place * (networks.TRAIN_STEPS - 1)) for place in [0.0] * pure + places]
    rng.shuffle(levels)
    return torch.tensor(levels)


def train(world: World, budget: Budget, *, resume: bool) -> Run:
    path = checkpoint_path(STAGE)
    run = Run(words.tokenizer(path.parent / "tokenizer"))
    if resume and path.exists():
        run.resume(load(path))
    network, mark = settled_autoencoder(world)
    pool, pool_path = Pool(world, network), path.with_name("latents.pt")
    pool.load(pool_path, mark, known_nouns(world.names, run.step))
    saved = time.monotonic()
    while budget.spent < 1:
        run.advance(pool, budget)
        if run.curve.ends_at(run.step):
            _log.info("step %d  loss %.4f  spent %.0f %%", *run.curve.points[-1], 100 * budget.spent)
        if time.monotonic() - saved > SAVE_SECONDS:
            save(path, run.state())
            pool.save(pool_path, mark)
            saved = time.monotonic()
    save(path, run.state())
    pool.save(pool_path, mark)
    return run
