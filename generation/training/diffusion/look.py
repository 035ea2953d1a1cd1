"""Look at what was trained: a contact sheet for people and the judge's count for machines, from the exported folder.

Only stock loading is used, so what is seen here is what everybody gets. Must not touch checkpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from generation.training.contact_sheet import random_scenes, sheet
from generation.training.diffusion.export import GUIDANCE, SHEET, STEPS
from generation.training.world import Scene, World, judge, plain_caption

AT_ONCE = 16  # pictures
COLOURS = 160  # of the sheet's palette, which takes a third of the bytes


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of right answers over held-out scenes."""

    pictures: int
    nouns: float
    grounds: float


def load(folder: Path) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipe: StableDiffusionPipeline, prompts: Sequence[str], seed: int = 0, **options: Any) -> list[Image.Image]:
    """One picture a prompt; each has its own generator, so the company it is drawn in does not matter."""
    wanted = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, **options}
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), AT_ONCE):
        some = list(prompts[start : start + AT_ONCE])
        dice = [torch.Generator().manual_seed(seed + start + number) for number in range(len(some))]
        pictures += pipe(some, generator=dice, **wanted).images
    return pictures


def write_sheet(pipe: StableDiffusionPipeline, world: World, folder: Path) -> int:
    """Held-out scenes by lot, first try each; returns how many."""
    prompts = [plain_caption(scene) for scene in random_scenes(world)]
    sheet(paint(pipe, prompts), prompts).quantize(COLOURS).save(folder / SHEET, optimize=True)
    return len(prompts)


def score(pipe: StableDiffusionPipeline, world: World, count: int, *, pair: bool, **options: Any) -> Score:
    """The judge's opinion on `count` scenes that training never saw."""
    rng = Random(7)  # noqa: S311 - which scenes are asked, no secret
    scenes: list[Scene] = [world.sample_held_out(rng, pair=pair) for _ in range(count)]
    pictures = paint(pipe, [plain_caption(scene) for scene in scenes], **options)
    verdicts = [judge(world, np.asarray(p), scene) for p, scene in zip(pictures, scenes, strict=True)]
    nouns = sum(verdict.nouns_right for verdict in verdicts) / count
    return Score(count, nouns, sum(verdict.ground_right for verdict in verdicts) / count)
