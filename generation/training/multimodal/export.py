"""Export: from a trainer to the folder that the portal loads, with its model card and contact sheet.

The folder holds a stock Janus in float16, a stock tokenizer and the mosaic. Must not hold anything of the trainer:
whoever loads it needs transformers and `generation.engines.mosaic`, nothing else.
"""

import json
from pathlib import Path

import torch
from PIL import Image

from generation.training.contact_sheet import random_scenes, sheet
from generation.training.multimodal.batches import prompt_tokens
from generation.training.multimodal.card import card
from generation.training.multimodal.describing import held_out_edits, score_describing, score_editing
from generation.training.multimodal.drawing import Score, draw, held_out_scenes, score
from generation.training.multimodal.trainer import CURVE, Trainer
from generation.training.world import CANVAS, EDIT_KINDS, plain_caption

SHEET, PROCESSOR = "contact-sheet.png", "preprocessor_config.json"
SHEET_SEED, SHEET_COLOURS = 11, 128
OWN_FILE = "tessera.json"  # what the portal must know beside the config


def export(trainer: Trainer, folder: Path) -> None:
    """Write everything; the averaged weights are the ones that ship."""
    folder.mkdir(parents=True, exist_ok=True)
    for model in trainer.averaged():
        draw_sheet(trainer, folder / SHEET)
        scores = final_scores(trainer)
        stored = {name: value.detach().to(torch.float16) for name, value in model.state_dict().items()}
        stored.pop("lm_head.weight", None)  # tied to the word embedding
        model.save_pretrained(folder, state_dict=stored)  # the config still says float32: that is how it is computed
    trainer.tokenizer.save_pretrained(folder)
    trainer.codebook.mosaic.save(folder)
    if trainer.plan.follow:
        (folder / OWN_FILE).write_text(json.dumps({"capabilities": ["edit", "describe"]}) + "\n", encoding="utf-8")
    (folder / PROCESSOR).write_text(json.dumps(processor(), indent=1) + "\n", encoding="utf-8")
    text = card(trainer.pictures, trainer.minutes, scores, read_curve(trainer), follows=trainer.plan.follow)
    (folder / "README.md").write_text(text, encoding="utf-8")


def final_scores(trainer: Trainer) -> dict[str, Score | float]:
    """More prompts than the curve has, others too, and the judge as well."""
    plan, codebook, network = trainer.plan, trainer.codebook, (trainer.model, trainer.codebook, trainer.tokenizer)
    scenes = {
        name: held_out_scenes(codebook, plan.export_prompts, pair=name == "two objects", seed=plan.seed + 1)
        for name in ("one object", "two objects")
    }
    found: dict[str, Score | float] = {name: score(*network, scenes[name], ask_judge=True) for name in scenes}
    if plan.follow:
        found |= {f"describe {name}": score_describing(*network, scenes[name]) for name in scenes}
        for kind in EDIT_KINDS:
            edits = held_out_edits(codebook, plan.export_prompts // len(EDIT_KINDS), plan.seed + 1, (kind,))
            found[f"edit: {kind}"] = score_editing(*network, edits, ask_judge=True)
    return found


def processor() -> dict[str, object]:
    """What stock Janus' image processor must know to show the network a picture as training did."""
    return {
        "image_processor_type": "JanusImageProcessor",
        "size": {"height": CANVAS, "width": CANVAS},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def read_curve(trainer: Trainer) -> list[dict[str, object]]:
    path = trainer.plan.folder / CURVE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def draw_sheet(trainer: Trainer, path: Path) -> None:
    """Held-out scenes by lot, at the temperature that ships, first try each."""
    torch.manual_seed(SHEET_SEED)
    mosaic = trainer.codebook.mosaic
    labels = [plain_caption(scene) for scene in random_scenes(trainer.codebook.world)]
    prompts = [prompt_tokens(trainer.tokenizer, text) for text in labels]
    codes = draw(trainer.model, mosaic, prompts, temperature=trainer.model.generation_config.temperature)
    pictures = [Image.fromarray(mosaic.decode(row)) for row in codes.tolist()]
    sheet(pictures, labels).quantize(SHEET_COLOURS).save(path, optimize=True)  # a palette keeps it small
