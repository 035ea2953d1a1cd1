"""The trainers' door with a tiny world and small networks, for tests of the command that starts it."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from generation.training import __main__ as door
from generation.training import contact_sheet, course
from generation.training.world import Scene, World
from tests.generation.training.conftest import build_tiny_world

SHOWN = 2  # pictures of the contact sheet, of each kind


def few_scenes(world: World) -> list[Scene]:
    return contact_sheet.random_scenes(world, 2 * SHOWN)


def shrink(starter: str) -> None:
    """One thread, small batches, no long warming up, and a checkpoint after every step."""
    {"diffusion": shrink_diffusion, "multimodal": shrink_multimodal}[starter]()
    course.SHORTEST_SAVE_SECONDS = course.SAVE_SECONDS = course.TELL_SECONDS = 0.0
    door.build_world = lambda _: build_tiny_world()
    torch.set_num_threads(1)


def shrink_diffusion() -> None:
    """A narrow denoiser."""
    from diffusers import UNet2DConditionModel

    from generation.training.diffusion import course as diffusion
    from generation.training.diffusion import denoiser, latents, look, networks, progress

    narrow = {**networks.denoiser().config, "block_out_channels": (16, 32, 32, 32)}
    networks.denoiser = lambda: UNet2DConditionModel.from_config(narrow)
    denoiser.BATCH = denoiser.FIRST_POOL = denoiser.FRESH = denoiser.WHITE_SCENES = latents.LARGEST = 8
    progress.WARM_UP = 4
    diffusion.FEWEST_JUDGED = 2
    look.random_scenes = few_scenes


def shrink_multimodal() -> None:
    """A quarter of the width, two layers and heads."""
    from generation.training.multimodal import architecture, export
    from generation.training.multimodal import course as multimodal

    for name, value in (("WIDTH", 64), ("LAYERS", 2), ("INNER", 128), ("HEAD_CELL", 16)):
        setattr(architecture, name, value)
    whole = multimodal.rate_share
    multimodal.rate_share = lambda plan, step, gone: whole(replace(plan, warm_steps=4), step, gone)
    multimodal.SEEN_AT_ONCE = multimodal.BATCH = 8
    export.random_scenes = few_scenes


if __name__ == "__main__":
    shrink(sys.argv[1])
    if pid := os.environ.get("TELL_PID"):
        Path(pid).write_text(str(os.getpid()))
    sys.exit(door.main())
