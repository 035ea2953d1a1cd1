"""A tiny StableDiffusionPipeline of which every rung of the memory ladder spares something.

Its widest layers need the most, then its picture decoder, then the two rows of a guided picture, then its weights.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from tests.generation.engines import tiny

EDGE = 128  # pixels


def save_stair(folder: Path) -> Path:
    """It draws 128 x 128."""
    torch.manual_seed(11)
    StableDiffusionPipeline(
        vae=_decoder(),
        text_encoder=CLIPTextModel(tiny.text_config()),
        tokenizer=tiny.tokenizer(16, end=True),
        unet=_network(),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _network() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=EDGE // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )


def _decoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=1.5,
        sample_size=EDGE // 4,
    )
