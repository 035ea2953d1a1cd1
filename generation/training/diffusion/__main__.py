"""The command line of the trainer: `python -m generation.training.diffusion STAGE`. Must not hold any training."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from generation.training.diffusion import autoencoder, denoiser, look
from generation.training.diffusion.export import STARTER, export
from generation.training.diffusion.progress import Budget
from generation.training.world import World

_log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(prog="python -m generation.training.diffusion", description=__doc__)
    asked.add_argument("stage", choices=("autoencoder", "adopt", "denoiser", "export", "look"))
    asked.add_argument("--minutes", type=float, default=40.0, help="how long to train, by the clock")
    asked.add_argument("--steps", type=int, help="how many steps to train, instead of minutes")
    asked.add_argument("--resume", action="store_true", help="go on from the checkpoint in the training folder")
    asked.add_argument("--decoder-only", action="store_true", help="keep the latents as they are")
    asked.add_argument("--export", action="store_true", help="write the folder when the denoiser is trained")
    asked.add_argument("--folder", type=Path, default=STARTER, help="where the folder is written, or looked for")
    asked.add_argument("--scenes", type=int, default=20, help="how many scenes of each kind `look` judges")
    asked.add_argument("--threads", type=int, default=1)
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torch.set_num_threads(asked.threads)
    world = World.build()
    budget = Budget(minutes=asked.minutes, steps=asked.steps)
    if asked.stage == "autoencoder":
        autoencoder.train(world, budget, resume=asked.resume, decoder_only=asked.decoder_only)
    if asked.stage == "adopt":
        autoencoder.adopt(asked.folder)
    if asked.stage == "denoiser":
        denoiser.train(world, budget, resume=asked.resume)
    if asked.stage == "export" or asked.export:
        export(world, asked.folder)
    if asked.stage == "look":
        _look(world, asked.folder, asked.scenes)
    return 0


def _look(world: World, folder: Path, scenes: int) -> None:
    pipe = look.load(folder)
    look.write_sheet(pipe, world, folder)
    for pair in (False, True):
        _log.info("%s: %s", "pairs" if pair else "single objects", look.score(pipe, world, scenes, pair=pair))


if __name__ == "__main__":
    sys.exit(main())
