"""Checkpoints of a gigabyte of random weights, few and wide layers of the real classes, in a folder of the caller's."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, JanusForConditionalGeneration

from tests.generation.engines import tiny

WIDE = 2048


def save_diffusion(folder: Path, seed: int) -> Path:
    """A StableDiffusionPipeline that draws 64 x 64, of 1.1 GB in float32."""
    with torch.device("meta"):
        network = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(320, 1184),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
        )
    StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4,
                          up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64),
        text_encoder=CLIPTextModel(tiny.text_config()),
        tokenizer=tiny.tokenizer(16, end=True),
        unet=_filled(network, seed),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_janus(folder: Path, seed: int) -> Path:
    """A Janus of 8 x 8 codes, of 1.1 GB in float32, nearly all of it in five layers of its language model."""
    tiny.save_janus(folder)
    config = JanusForConditionalGeneration.from_pretrained(folder).config
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = WIDE, 5632, 5
    text.num_attention_heads = text.num_key_value_heads = WIDE // 128
    text.head_dim = 128
    config.vision_config.projection_dim = WIDE
    config.vq_config.projection_dim = config.vq_config.image_token_embed_dim = WIDE
    with torch.device("meta"):
        network = JanusForConditionalGeneration(config)
    _filled(network, seed).save_pretrained(folder)
    return folder


def _filled(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Random numbers for weights that have none yet."""
    generator = torch.Generator().manual_seed(seed)
    network.to_empty(device="cpu")
    with torch.no_grad():
        for weight in [*network.parameters(), *network.buffers()]:
            if weight.is_floating_point():
                weight.uniform_(-0.02, 0.02, generator=generator)
            else:
                weight.copy_(torch.arange(weight.numel()).view(weight.shape))
    return network.eval()
