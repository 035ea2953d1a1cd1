"""Stage one: the autoencoder learns to pack the world's pictures into 32 x 32 x 4 numbers and back.

It sees 64-px crops first (four times as many objects per second), whole pictures in the last part of a run, because
its normalisation looks at the whole canvas. Once a denoiser has been trained on its latents, only the decoder may
go on learning (`--decoder-only`), or the denoiser's latents would lose their meaning.
"""

import logging
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from generation.training.diffusion import networks
from generation.training.diffusion.muon import Muon, muon_for
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
)
from generation.training.world import CANVAS, TILE, World

STAGE = "autoencoder"
RATE = 3e-3
CROP, CROPS, WHOLE = 64, 4, 1  # pixels; crops per step; whole pictures per step
CROP_SHARE = 0.6  # of a run
EDGES, PRIOR = 0.5, 1e-4
PLAIN = ("conv_in", "conv_out")
_log = logging.getLogger(__name__)


def to_tensor(pictures: list[np.ndarray[Any, Any]]) -> Tensor:
    """uint8 pictures as float32 [n, 3, h, w] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def batch(world: World, rng: Random, *, whole: bool) -> Tensor:
    pictures = []
    for _ in range(WHOLE if whole else CROPS):
        picture = world.compose(world.sample(rng))
        top, left = (0, 0) if whole else (_corner(rng), _corner(rng))
        side = CANVAS if whole else CROP
        pictures.append(picture[top : top + side, left : left + side])
    return to_tensor(pictures)


def _corner(rng: Random) -> int:
    return TILE * rng.randrange((CANVAS - CROP) // TILE + 1)


def edges(picture: Tensor) -> tuple[Tensor, Tensor]:
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def losses(network: AutoencoderKL, pictures: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is minimised, and the mean absolute error alone, which people can read."""
    hidden = network.encode(pictures).latent_dist
    drawn = network.decode(hidden.sample(generator=generator)).sample
    error = (drawn - pictures).abs().mean()
    sharpness = sum(
        ((a - b).abs().mean() for a, b in zip(edges(drawn), edges(pictures), strict=True)), error.new_zeros(())
    )
    prior = hidden.kl().mean() / hidden.mean[0].numel()
    return error + EDGES * sharpness + PRIOR * prior, error.detach()


class Run:
    """The network, its optimiser and average, as they stand after `step` steps."""

    def __init__(self, *, decoder_only: bool = False, setting: Setting = OURS) -> None:
        torch.manual_seed(setting.seed)
        self.setting = setting
        self.network = networks.autoencoder()
        self.decoder_only = decoder_only
        if decoder_only:
            self.network.encoder.requires_grad_(False)
            self.network.quant_conv.requires_grad_(False)
        self.optimizer: Muon = muon_for([self.network], RATE, PLAIN)
        self.average = Average(self.network, keep=0.998)
        self.step = 0
        self.packed = 0  # where the decoder alone went on
        self.curve = Curve()

    def state(self) -> dict[str, Any]:
        return {
            "networks": {STAGE: self.network.state_dict()},
            "averages": {STAGE: self.average.weights},
            "optimizer": self.optimizer.state_dict(),
            "decoder_only": self.decoder_only,
            "step": self.step,
            "packed": self.packed,
            "curve": self.curve.points,
        }

    def resume(self, state: dict[str, Any]) -> None:
        # a decoder alone goes on from the averages: their encoder is the one whose latents are in use
        self.network.load_state_dict(state["averages" if self.decoder_only else "networks"][STAGE])
        self.average.weights = state["averages"][STAGE]
        if state["optimizer"] and state["decoder_only"] == self.decoder_only:
            self.optimizer.load_state_dict(state["optimizer"])
        self.packed = state.get("packed", 0) if state["decoder_only"] else state["step"]
        self.step, self.curve = state["step"], Curve(state["curve"])

    def advance(self, world: World, budget: Budget) -> float:
        """One step; returns the mean absolute error (pixels in -1..1)."""
        rng = self.setting.draw(STAGE, self.step)
        # a decoder alone has little to learn anew: it sees whole pictures only, as it will have to draw them
        pictures = batch(world, rng, whole=self.decoder_only or budget.spent > CROP_SHARE)
        set_rate(self.optimizer, budget.rate(RATE))
        loss, error = losses(self.network, pictures, noise(rng))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.average.update(self.network, self.step)
        self.step += 1
        budget.taken += 1
        self.curve.add(self.step, float(error))
        return float(error)


def adopt(folder: Path) -> None:
    """Take the autoencoder of an exported folder for the one to go on with: checkpoints stay on the machine that
    trained, the folder goes everywhere. In single precision, so what half precision has rounded stays rounded."""
    weights = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True).float().state_dict()
    named = {STAGE: weights}
    save(
        checkpoint_path(STAGE),
        {"networks": named, "averages": named, "optimizer": {}, "decoder_only": False, "step": 0, "curve": []},
    )


def train(world: World, budget: Budget, *, resume: bool, decoder_only: bool = False) -> Run:
    run, path = Run(decoder_only=decoder_only), checkpoint_path(STAGE)
    if resume and path.exists():
        run.resume(load(path))
    saved = time.monotonic()
    while budget.spent < 1:
        run.advance(world, budget)
        if run.curve.ends_at(run.step):
            _log.info("step %d  error %.4f  spent %.0f %%", *run.curve.points[-1], 100 * budget.spent)
        if time.monotonic() - saved > SAVE_SECONDS:
            save(path, run.state())
            saved = time.monotonic()
    save(path, run.state())
    return run
