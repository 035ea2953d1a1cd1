"""The trainers' door with a tiny world and small networks, for tests of the command that starts it."""

import os
import sys
from pathlib import Path

import torch

from generation.training import __main__ as door
from generation.training import course
from generation.training.multimodal import architecture
from generation.training.multimodal import course as multimodal
from generation.training.world import NOUNS, World
from tests.generation.training.conftest import DRAWINGS


def tiny_world(_: Path) -> World:
    nouns = NOUNS[: len(DRAWINGS)]
    return World.from_bodies(nouns, {noun.icon: body for noun, body in zip(nouns, DRAWINGS, strict=True)})


def shrink() -> None:
    """A quarter of the width, smaller batches, and a checkpoint after every step."""
    from generation.training import contact_sheet
    from generation.training.diffusion import course as diffusion
    from generation.training.diffusion import denoiser, latents, progress

    for name, value in (("WIDTH", 64), ("LAYERS", 2), ("HEADS", 2), ("INNER", 128), ("HEAD_CELL", 16)):
        setattr(architecture, name, value)
    denoiser.BATCH = denoiser.FIRST_POOL = denoiser.FRESH = denoiser.WHITE_SCENES = latents.LARGEST = 8
    progress.WARM_UP = 4
    diffusion.PICTURES = contact_sheet.PICTURES = 2
    multimodal.SEEN_AT_ONCE = multimodal.BATCH = 8
    course.SHORTEST_SAVE_SECONDS = course.SAVE_SECONDS = course.TELL_SECONDS = 0.0
    door.build_world = tiny_world
    torch.set_num_threads(1)


if __name__ == "__main__":
    shrink()
    if pid := os.environ.get("TELL_PID"):
        Path(pid).write_text(str(os.getpid()))
    sys.exit(door.main())
