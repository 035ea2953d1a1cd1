"""Tiny real pipelines of Stable Diffusion: 1.5, XL, 3."""

from typing import Any

import diffusers
from diffusers import UNet2DConditionModel

from tests.generation.engines import tiny_words as words
from tests.generation.engines.tiny_parts import decoder, euler, flow, unet


def stable_diffusion() -> Any:
    return _stable("StableDiffusionPipeline", 4)


def stable_inpaint() -> Any:
    return _stable("StableDiffusionInpaintPipeline", 9)


def _stable(name: str, channels: int) -> Any:
    return getattr(diffusers, name)(
        vae=decoder(stages=3, shift_factor=None),
        text_encoder=words.clip(),
        tokenizer=words.clip_tokenizer(),
        unet=unet(channels),
        scheduler=euler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl() -> Any:
    return _xl("StableDiffusionXLPipeline", unet(large=True))


def xl_inpaint() -> Any:
    return _xl("StableDiffusionXLInpaintPipeline", unet(9, large=True))


def _xl(name: str, network: UNet2DConditionModel, **more: Any) -> Any:
    parts = {
        "vae": decoder(stages=3, shift_factor=None),
        "text_encoder": words.clip(),
        "text_encoder_2": words.clip(projects=True),
        "tokenizer": words.clip_tokenizer(),
        "tokenizer_2": words.clip_tokenizer(),
        "unet": network,
        "scheduler": euler(),
        "add_watermarker": False,
    }
    return getattr(diffusers, name)(**{**parts, **more})


def refiner() -> Any:
    network = UNet2DConditionModel.from_config(
        {**unet(large=True).config, "cross_attention_dim": 16, "projection_class_embeddings_input_dim": 5 * 8 + 16}
    )
    return _xl(
        "StableDiffusionXLImg2ImgPipeline",
        network,
        text_encoder=None,
        tokenizer=None,
        requires_aesthetics_score=True,
    )


def sd3() -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=decoder(16, stages=3),
        text_encoder=words.clip(projects=True),
        text_encoder_2=words.clip(projects=True),
        text_encoder_3=words.t5(32),
        tokenizer=words.clip_tokenizer(),
        tokenizer_2=words.clip_tokenizer(),
        tokenizer_3=words.t5_tokenizer(),
    )
