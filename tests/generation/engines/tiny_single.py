"""Tiny pipelines of the published kinds, narrow but with all their blocks, saved twice: as folder and as single file.

A single file holds no settings, so all that no shape tells is here as in the published checkpoints.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.generation.engines import single_names as names
from tests.generation.engines import tiny_words as words

OWN = '{"sizes": [[64, 64]]}'
BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The same weights twice."""

    folder: Path
    file: Path


@dataclass(frozen=True, slots=True)
class Kind:
    """How to make one, and how its file is written."""

    build: Callable[[], Any]
    places: dict[str, str]  # what the names of each part begin with
    beside: dict[str, str] = field(default_factory=dict)  # parts in files of their own

    def save(self, shelf: Path) -> Pair:
        torch.manual_seed(5)
        pipeline = self.build()
        words.louder(*(part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)))
        pipeline.save_pretrained(shelf / "folder")
        (shelf / "folder" / "tessera.json").write_text(OWN, encoding="utf-8")
        return Pair(shelf / "folder", self._save_file(pipeline, shelf))

    def _save_file(self, pipeline: Any, shelf: Path) -> Path:
        tensors = names.State()
        for part, place in self.places.items():
            for name, tensor in original(getattr(pipeline, part)).items():
                tensors[place + name] = tensor.contiguous()
        save_file(tensors, shelf / "mine.safetensors", metadata={"modelspec.license": "ours"})
        for part, name in self.beside.items():
            found = original(getattr(pipeline, part))
            save_file({name: tensor.contiguous() for name, tensor in found.items()}, shelf / name)
        if hasattr(pipeline, "text_encoder_2") and isinstance(pipeline.text_encoder_2, T5EncoderModel):
            pipeline.tokenizer_2.save_pretrained(shelf / "tokenizer_2")
        (shelf / "mine.tessera.json").write_text(OWN, encoding="utf-8")
        words.clip_tokenizer(77).save_pretrained(shelf / "tokenizer")
        return shelf / "mine.safetensors"


def original(network: Any) -> names.State:
    """Its tensors as original files name them."""
    state, config = network.state_dict(), network.config
    if isinstance(network, diffusers.UNet2DConditionModel):
        last = config.up_block_types[0].startswith("CrossAttn")
        return names.unet(state, config.layers_per_block, attends_last=last)
    if isinstance(network, diffusers.AutoencoderKL):
        return names.vae(state)
    if isinstance(network, diffusers.FluxTransformer2DModel):
        return names.flux(state)
    if isinstance(network, T5EncoderModel):
        return {name: tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"}
    return names.open_clip(state) if isinstance(network, CLIPTextModelWithProjection) else names.clip(state)


def text_encoder(width: int = 64, *, projects: bool = False, vocabulary: int = 514) -> Any:
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        projection_dim=width,
        max_position_embeddings=77,
        hidden_act="gelu" if projects else "quick_gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def tokenizer(pad: str = "<|endoftext|>") -> Any:
    made = words.clip_tokenizer(77)
    made.pad_token = pad
    return made


def decoder(channels: int = 4, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        **{"scaling_factor": 0.18215, **more},
    )


def unet(channels: int) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=64,
        in_channels=channels,
        block_out_channels=(32, 64, 64, 64),
        cross_attention_dim=64,
        attention_head_dim=8,
    )


def stable(name: str, channels: int) -> Any:
    return getattr(diffusers, name)(
        vae=decoder(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=unet(channels),
        scheduler=diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def large_unet(channels: int, **more: Any) -> Any:
    settings: dict[str, Any] = {
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (1, 1, 2),
        "transformer_layers_per_block": (1, 2, 3),
        "cross_attention_dim": 64 + 128,
        "projection_class_embeddings_input_dim": 6 * 8 + 128,
    }
    return diffusers.UNet2DConditionModel(
        sample_size=128,
        in_channels=channels,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        **{**settings, **more},
    )


def xl(name: str, network: Any, vocabulary: int = 514, **more: Any) -> Any:
    parts = {
        "vae": decoder(scaling_factor=0.13025, force_upcast=True),
        "text_encoder": text_encoder(vocabulary=vocabulary),
        "text_encoder_2": text_encoder(128, projects=True, vocabulary=vocabulary),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer("!"),
        "unet": network,
        "scheduler": diffusers.EulerDiscreteScheduler(**BETAS),
        "add_watermarker": False,
    }
    return getattr(diffusers, name)(**{**parts, **more})


def refiner() -> Any:
    network = large_unet(
        4,
        block_out_channels=(32, 64, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 1, 1, 2),
        transformer_layers_per_block=2,
        cross_attention_dim=128,
        projection_class_embeddings_input_dim=5 * 8 + 128,
    )
    return xl(
        "StableDiffusionXLImg2ImgPipeline",
        network,
        text_encoder=None,
        tokenizer=None,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def flux(name: str, channels: int = 64, *, guided: bool = True, **scheduled: Any) -> Any:
    config = T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=channels,
        out_channels=64,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=128,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=64,
        guidance_embeds=guided,
    )
    return getattr(diffusers, name)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(max_image_seq_len=4096, **scheduled),
        vae=decoder(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        text_encoder_2=T5EncoderModel(config),
        tokenizer_2=words.t5_tokenizer(512),
        transformer=transformer,
    )


AROUND = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}
STABLE = {**AROUND, "text_encoder": "cond_stage_model.transformer."}
XL = {
    **AROUND,
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
REFINER = {**AROUND, "text_encoder_2": "conditioner.embedders.0.model."}
ALONE = {"vae": "ae.safetensors", "text_encoder": "clip_l.safetensors", "text_encoder_2": "t5xxl_fp16.safetensors"}
ALL = {
    "transformer": "model.diffusion_model.",
    "vae": "vae.",
    "text_encoder": "text_encoders.clip_l.transformer.",
    "text_encoder_2": "text_encoders.t5xxl.transformer.",
}
KINDS: dict[str, Kind] = {
    "flux_dev": Kind(lambda: flux("FluxPipeline", shift=3.0, use_dynamic_shifting=True), {"transformer": ""}, ALONE),
    "flux_schnell": Kind(lambda: flux("FluxPipeline", guided=False), ALL),
    "flux_fill": Kind(lambda: flux("FluxFillPipeline", 384, shift=3.0, use_dynamic_shifting=True), ALL),
    "sdxl": Kind(lambda: xl("StableDiffusionXLPipeline", large_unet(4)), XL),
    "sdxl_inpaint": Kind(lambda: xl("StableDiffusionXLInpaintPipeline", large_unet(9)), XL),
    "sdxl_refiner": Kind(lambda: refiner(), REFINER),
    "sd15": Kind(lambda: stable("StableDiffusionPipeline", 4), STABLE),
    "sd15_inpaint": Kind(lambda: stable("StableDiffusionInpaintPipeline", 9), STABLE),
}


def save_single(shelf: Path) -> Path:
    """One of SDXL, with nothing beside it but its own settings: CLIP's words are those of the installation."""
    shelf.mkdir()
    file = Kind(lambda: xl("StableDiffusionXLPipeline", large_unet(4), 49_408), XL).save(shelf).file
    shutil.rmtree(shelf / "tokenizer")
    return file
