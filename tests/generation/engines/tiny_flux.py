"""Tiny real pipelines of FLUX and its kin."""

from typing import Any

import diffusers
from transformers import Mistral3Config, Mistral3ForConditionalGeneration

from tests.generation.engines import tiny_words as words
from tests.generation.engines.tiny_parts import decoder, flow, flux2_decoder


def flux() -> Any:
    return _flux("FluxPipeline", 16)


def flux_kontext() -> Any:
    return _flux("FluxKontextPipeline", 16)


def flux_fill() -> Any:
    return _flux("FluxFillPipeline", 4 * (4 + 4 + 64), out_channels=16)


def _flux(name: str, channels: int, **more: Any) -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
        **more,
    )
    return getattr(diffusers, name)(
        scheduler=flow(use_dynamic_shifting=True),
        vae=decoder(),
        text_encoder=words.clip(),
        tokenizer=words.clip_tokenizer(),
        text_encoder_2=words.t5(32),
        tokenizer_2=words.t5_tokenizer(),
        transformer=transformer,
    )


def _flux2_transformer(text: int, *, guidance: bool) -> Any:
    return diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )


def klein() -> Any:
    return diffusers.Flux2KleinPipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux2_decoder(),
        text_encoder=words.qwen3(layers=28),
        tokenizer=words.qwen_tokenizer(),
        transformer=_flux2_transformer(48, guidance=False),
        is_distilled=False,
    )


def mistral(width: int, layers: int) -> Any:
    config = Mistral3Config(
        text_config={"model_type": "mistral", "vocab_size": 300, **words.decoder(width, layers)},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        image_token_index=264,
    )
    return Mistral3ForConditionalGeneration(config)


def flux2() -> Any:
    return diffusers.Flux2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux2_decoder(),
        text_encoder=mistral(16, 31),
        tokenizer=words.pixtral_tokenizer(),
        transformer=_flux2_transformer(48, guidance=True),
    )


def chroma() -> Any:
    transformer = diffusers.ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return diffusers.ChromaPipeline(
        scheduler=flow(),
        vae=decoder(),
        text_encoder=words.t5(32),
        tokenizer=words.t5_tokenizer(),
        transformer=transformer,
    )
