"""Export: from a trainer to the folder that the portal loads, with its model card and contact sheet.

The folder holds a stock Janus in float16, a stock tokenizer and the mosaic. Must not hold anything of the trainer:
whoever loads it needs transformers and `generation.engines.mosaic`, nothing else.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from generation.training.multimodal.batches import prompt_tokens
from generation.training.multimodal.card import card
from generation.training.multimodal.drawing import Score, draw, held_out_scenes, score
from generation.training.multimodal.trainer import CURVE, Trainer

SHEET = "contact-sheet.png"
SHEET_SEED, SHEET_COLUMNS, SHEET_COLOURS = 11, 8, 128
# Written before the first training ended, and not changed to what came out well.
SHEET_PROMPTS = (
    "apple on white",
    "cat on blue",
    "a pizza on a green background",
    "rocket on black",
    "a picture of a panda on pink",
    "castle on yellow",
    "a small robot on teal",
    "the violin, purple background",
    "cat left of pizza on blue",
    "parrot above cactus on white",
    "the sun is to the right of the rocket on black",
    "a dog under an umbrella on green",
    "key right of green book on orange",
    "an owl on top of a cake with a purple background",
    "snowman left of penguin on teal",
    "kitty below crown on gray",
)


def export(trainer: Trainer, folder: Path) -> None:
    """Write everything; the averaged weights are the ones that ship."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in trainer.averaged():
        draw_sheet(trainer, folder / SHEET)
        scores = {name: final_score(trainer, pair=pair) for name, pair in (("one", False), ("two", True))}
        stored = {name: value.detach().to(torch.float16) for name, value in model.state_dict().items()}
        stored.pop("lm_head.weight", None)  # tied to the word embedding
        model.save_pretrained(folder, state_dict=stored)  # the config still says float32: that is how it is computed
    trainer.tokenizer.save_pretrained(folder)
    trainer.codebook.mosaic.save(folder)
    text = card(trainer.pictures, trainer.minutes, scores, read_curve(trainer))
    (folder / "README.md").write_text(text, encoding="utf-8")


def final_score(trainer: Trainer, *, pair: bool) -> Score:
    """More prompts than the curve has, others too, and the judge as well."""
    plan, codebook = trainer.plan, trainer.codebook
    scenes = held_out_scenes(codebook, plan.export_prompts, pair=pair, seed=plan.seed + 1)
    return score(trainer.model, codebook, trainer.tokenizer, scenes, ask_judge=True)


def read_curve(trainer: Trainer) -> list[dict[str, object]]:
    path = trainer.plan.folder / CURVE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def draw_sheet(trainer: Trainer, path: Path) -> None:
    """The fixed prompts at the temperature that ships, first try each."""
    torch.manual_seed(SHEET_SEED)
    mosaic = trainer.codebook.mosaic
    prompts = [prompt_tokens(trainer.tokenizer, text) for text in SHEET_PROMPTS]
    codes = draw(trainer.model, mosaic, prompts, temperature=trainer.model.generation_config.temperature)
    pictures = [mosaic.decode(row) for row in codes.tolist()]
    rows = [pictures[start : start + SHEET_COLUMNS] for start in range(0, len(pictures), SHEET_COLUMNS)]
    sheet = Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))
    sheet.quantize(SHEET_COLOURS).save(path, optimize=True)  # a palette keeps it below 200 KB
