"""A pipeline of Stable Diffusion 1.5's shape at half its width with random weights, to measure how fast it draws."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from tests.generation.engines.tiny_words import clip_tokenizer

WORDS, LONGEST, WIDTH = 514, 77, 768


def save_half_stable(folder: Path, *, tiny: bool = False) -> Path:
    """220 million weights. All parts have half the channels, so each takes the share of the time that it truly has.

    `tiny`: with AutoencoderTiny of the shape of TAESD, at half its width too.
    """
    torch.manual_seed(1)
    StableDiffusionPipeline(
        vae=_tiny_decoder() if tiny else _decoder(),
        text_encoder=_text_encoder(),
        tokenizer=clip_tokenizer(LONGEST),
        unet=half_unet(),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    (folder / "tessera.json").write_text('{"sizes": [[512, 512], [256, 256]]}', encoding="utf-8")
    return folder


def half_unet() -> UNet2DConditionModel:
    """Its network."""
    return UNet2DConditionModel(
        sample_size=64, block_out_channels=(160, 320, 640, 640), cross_attention_dim=WIDTH, attention_head_dim=8
    ).eval()


def _decoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(64, 128, 256, 256),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        scaling_factor=0.18215,
    )


def _tiny_decoder() -> AutoencoderTiny:
    made = AutoencoderTiny(encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4)
    made.register_to_config(block_out_channels=(32,) * 4)
    return made


def _text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=WORDS,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=6,
            num_attention_heads=12,
            max_position_embeddings=LONGEST,
            bos_token_id=WORDS - 2,
            eos_token_id=WORDS - 1,
            pad_token_id=WORDS - 1,
        )
    )
