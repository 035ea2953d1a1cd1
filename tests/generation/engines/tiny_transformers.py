"""Tiny real pipelines of the families around one large transformer and one large text encoder."""

from typing import Any

import diffusers
from diffusers import AutoencoderKLHunyuanImage, DPMSolverMultistepScheduler, SCMScheduler
from diffusers.guiders import AdaptiveProjectedMixGuidance
from transformers import ByT5Tokenizer

from tests.generation.engines import tiny_words as words
from tests.generation.engines.tiny_parts import decoder, deep_decoder, film_decoder, flow


def qwen_image() -> Any:
    return _qwen_image("QwenImagePipeline")


def qwen_edit() -> Any:
    return _qwen_image("QwenImageEditPipeline", processor=words.qwen_processor(), vae=film_decoder(5))


def qwen_edit_plus() -> Any:
    return _qwen_image("QwenImageEditPlusPipeline", processor=words.qwen_processor(), vae=film_decoder(5))


def _qwen_image(name: str, **more: Any) -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    return getattr(diffusers, name)(
        scheduler=flow(use_dynamic_shifting=True),
        text_encoder=words.qwen_seeing(),
        tokenizer=words.qwen_tokenizer(),
        transformer=transformer,
        **{"vae": film_decoder(), **more},
    )


def z_image() -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 4, 8],
        axes_lens=[1024, 32, 32],
    )
    return diffusers.ZImagePipeline(
        scheduler=flow(shift=6.0),
        vae=decoder(),
        text_encoder=words.qwen3(),
        tokenizer=words.qwen_tokenizer(),
        transformer=transformer,
    )


def sana() -> Any:
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, algorithm_type="dpmsolver++"
    )
    return _sana("SanaPipeline", scheduler)


def sana_sprint() -> Any:
    return _sana("SanaSprintPipeline", SCMScheduler(), guidance_embeds=True, qk_norm="rms_norm_across_heads")


def _sana(name: str, scheduler: Any, **more: Any) -> Any:
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=2,
        **more,
    )
    return getattr(diffusers, name)(
        tokenizer=words.gemma_tokenizer(),
        text_encoder=words.gemma(),
        vae=deep_decoder(),
        transformer=transformer,
        scheduler=scheduler,
    )


def lumina2() -> Any:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=2,
        axes_dim_rope=(4, 4, 4),
        axes_lens=(512, 32, 32),
        cap_feat_dim=16,
    )
    return diffusers.Lumina2Pipeline(
        transformer=transformer,
        scheduler=flow(shift=6.0),
        vae=decoder(),
        text_encoder=words.gemma(),
        tokenizer=words.gemma_tokenizer(),
    )


def hunyuan_image() -> Any:
    transformer = diffusers.HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=16,
        rope_axes_dim=(4, 4),
    )
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32, 32, 32, 32, 32),
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=64,
        scaling_factor=0.75,
    )
    return diffusers.HunyuanImagePipeline(
        scheduler=flow(shift=5.0),
        vae=vae,
        text_encoder=words.qwen_seeing(layers=3),
        tokenizer=words.qwen_tokenizer(),
        text_encoder_2=words.t5(),
        tokenizer_2=ByT5Tokenizer(),
        transformer=transformer,
        guider=AdaptiveProjectedMixGuidance(),
        ocr_guider=AdaptiveProjectedMixGuidance(),
    )


def kandinsky5() -> Any:
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        out_visual_dim=4,
        model_dim=16,
        ff_dim=16,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(2, 2, 4),
    )
    words.louder(transformer)
    return diffusers.Kandinsky5T2IPipeline(
        transformer=transformer,
        vae=decoder(),
        text_encoder=words.qwen_seeing(),
        tokenizer=words.qwen_processor(),
        text_encoder_2=words.clip(longest=77),
        tokenizer_2=words.clip_tokenizer(77),
        scheduler=flow(),
    )
