"""From checkpoints to the folder that ships: a stock StableDiffusionPipeline, plus the preview's linear map.

The folder is written beside its place and renamed, so a reader never meets half of one. Must not train.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from generation.training.diffusion import networks, words
from generation.training.diffusion.autoencoder import to_tensor
from generation.training.diffusion.denoiser import STAGE, settled_autoencoder
from generation.training.diffusion.latents import encode
from generation.training.diffusion.progress import OURS, Setting, load, weights_of
from generation.training.folders import draft_of, replace_folder
from generation.training.world import CANVAS, World

STARTER = Path(__file__).resolve().parents[2] / "starter" / "diffusion"
STEPS, GUIDANCE = 10, 2.0
CARD, SHEET = "README.md", "contact-sheet.png"


def preview_map(network: AutoencoderKL, world: World, count: int = 40, setting: Setting = OURS) -> dict[str, Any]:
    """The linear map from one latent cell to the mean colour of its 4 x 4 pixels (0..1), by least squares."""
    rng = setting.draw("preview", 0)
    scenes = [world.sample(rng) for _ in range(count)]
    latents = encode(network, world, scenes).permute(0, 2, 3, 1).reshape(-1, networks.LATENT_CHANNELS)
    pictures = to_tensor([world.compose(scene) for scene in scenes]).add(1).div(2)
    colours = (
        torch.nn.functional.avg_pool2d(pictures, CANVAS // networks.LATENT_SIDE).permute(0, 2, 3, 1).reshape(-1, 3)
    )
    known = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)
    solved: Tensor = torch.linalg.lstsq(known, colours).solution
    rows = [[round(value, 5) for value in row] for row in solved.tolist()]
    return {"version": 1, "matrix": rows[:-1], "bias": rows[-1]}


def pipeline(network: AutoencoderKL, state: dict[str, Any], setting: Setting = OURS) -> StableDiffusionPipeline:
    """The averaged weights in a stock pipeline."""
    tokenizer = words.tokenizer(setting.folder / "tokenizer")
    unet, text_encoder = networks.denoiser(), networks.text_encoder(tokenizer.eos_token_id)
    unet.load_state_dict(weights_of(state, "unet"))
    text_encoder.load_state_dict(weights_of(state, "text_encoder"))
    return StableDiffusionPipeline(
        vae=network,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=networks.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(world: World, folder: Path = STARTER, setting: Setting = OURS) -> Path:
    """Put the folder in its place. The card and the sheet that are there stay."""
    part = draft_of(folder)
    write(world, part, setting)
    for name in (CARD, SHEET):
        if (folder / name).exists():
            shutil.copy2(folder / name, part / name)
    replace_folder(part, folder)
    return folder


def write(world: World, folder: Path, setting: Setting = OURS) -> None:
    """In half precision on disk; it loads in single precision where nothing else is asked."""
    network, _ = settled_autoencoder(world, setting)
    pipe = pipeline(network, load(setting.checkpoint(STAGE)), setting)
    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    _read_in_single_precision(folder / "text_encoder" / "config.json")
    (folder / "preview.json").write_text(
        json.dumps(preview_map(network.float(), world, setting=setting), indent=1) + "\n"
    )
    defaults = {"steps": STEPS, "guidance": GUIDANCE}
    (folder / "tessera.json").write_text(json.dumps({"defaults": defaults}, indent=1) + "\n")


def _read_in_single_precision(config: Path) -> None:
    """transformers loads what the config names, diffusers loads float32: without this the two halves do not fit."""
    settings = json.loads(config.read_text())
    settings["dtype"] = "float32"
    config.write_text(json.dumps(settings, indent=2) + "\n")
