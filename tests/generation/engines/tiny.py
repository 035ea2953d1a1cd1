"""Tiny real checkpoints, saved to disk the way a user has them. Weights are random: they draw noise, but truly."""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from generation.engines.mosaic import Mosaic

WORDS = ("a", "cat", "dog", "left", "of", "pizza", "on", "blue", "red", "white")
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>", "<boi>", "<eoi>", "<image>")


def tokenizer(longest: int, *, end: bool) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = "<bos> $A <eos>" if end else "<bos> $A"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<bos>", 1), ("<eos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"boi_token": "<boi>", "eoi_token": "<eoi>", "image_token": "<image>"},
        padding_side="left",
        model_max_length=longest,
    )


def _janus_config(image_tokens: int, codes: int, patch: int, *, looks: bool) -> JanusConfig:
    return JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(SPECIAL + WORDS),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": image_tokens + 24 + looks * 66,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8 * patch,
            "patch_size": patch,
            "num_image_tokens": image_tokens,
            "projection_dim": 32,
        },
        vq_config={
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "latent_channels": 16,
            "num_embeddings": codes,
            "embed_dim": 8,
            "num_patches": 8,
            "projection_dim": 32,
            "image_token_embed_dim": 32,
        },
        image_token_id=6,
    )


def save_janus(
    folder: Path,
    *,
    image_tokens: int = 64,
    codes: int = 128,
    mosaic: Mosaic | None = None,
    patch: int = 2,
    looks: bool = False,
) -> Path:
    """A JanusForConditionalGeneration of 8 x 8 codes; the real VQ decoder, two stages of it.

    One that looks can edit and describe, and says different things of different pictures.
    """
    torch.manual_seed(1)
    network = JanusForConditionalGeneration(_janus_config(image_tokens, codes, patch, looks=looks))
    network.generation_config = GenerationConfig(
        bos_token_id=1,
        pad_token_id=0,
        eos_token_id=2,
        do_sample=True,
        temperature=1.0,
        guidance_scale=2.0,
        generation_kwargs={"boi_token_id": 4},
    )
    with torch.no_grad():  # fresh heads are so flat that every prompt would draw the same
        network.model.generation_head.vision_head.weight.normal_(std=2.0)
        if looks:
            _open_eyes(network)
    network.save_pretrained(folder)
    tokenizer(64, end=False).save_pretrained(folder)
    if looks:
        (folder / "tessera.json").write_text('{"capabilities": ["edit", "describe"]}', encoding="utf-8")
    if mosaic is not None:
        mosaic.save(folder)
    return folder


def save_mosaic(folder: Path) -> Path:
    """A Janus whose codebook is a mosaic."""
    tables = mosaic()
    return save_janus(folder, image_tokens=tables.tokens, codes=tables.codes, mosaic=tables)


def _open_eyes(network: JanusForConditionalGeneration) -> None:
    """A fresh network hardly heeds its picture, and answers all with one word: louder weights, lucky words."""
    for part in (network.model.aligner, network.model.language_model.layers):
        for weight in part.parameters():
            if weight.ndim == 2:
                weight.mul_(12)
    torch.manual_seed(38)  # answers of several lengths, most of them ended by <eos>
    network.lm_head.weight.normal_(std=2.0)


def save_looking(folder: Path, tables: Mosaic | None = None) -> Path:
    """A mosaic whose vision tower sees just the size it draws, 32 x 32: it can edit and describe."""
    tables = tables or mosaic()
    return save_janus(folder, image_tokens=tables.tokens, codes=tables.codes, mosaic=tables, patch=4, looks=True)


def mosaic(*, tiles: int = 20, grid: tuple[int, int] = (8, 8)) -> Mosaic:
    """3 grounds and some tiles of 4 px."""
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (tiles + 1, 4, 4, 4), dtype=np.uint8)
    pixels[0] = 0
    grounds = np.array([[255, 255, 255], [40, 80, 200], [200, 40, 40]], dtype=np.uint8)
    return Mosaic(("white", "blue", "red"), grounds, pixels, grid)


def save_diffusion(folder: Path, *, prediction: str = "epsilon", large_decoder: bool = False) -> Path:
    """A StableDiffusionPipeline, with AutoencoderTiny unless told otherwise, that draws 32 x 32."""
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
    )
    vae, text = _large_decoder() if large_decoder else _tiny_decoder(), CLIPTextModel(text_config())
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type=prediction,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer(16, end=True),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_xl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline (two text encoders, sizes as conditions) that draws 32 x 32."""
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    StableDiffusionXLPipeline(
        vae=_large_decoder(),
        text_encoder=CLIPTextModel(text_config()),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer=tokenizer(16, end=True),
        tokenizer_2=tokenizer(16, end=True),
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def save_flow(folder: Path) -> Path:
    """A StableDiffusion3Pipeline (flow matching, transformer, no third text encoder) that draws 32 x 32."""
    torch.manual_seed(3)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    )
    texts = [CLIPTextModelWithProjection(text_config()) for _ in range(2)]
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_large_decoder(),
        text_encoder=texts[0],
        text_encoder_2=texts[1],
        text_encoder_3=None,
        tokenizer=tokenizer(16, end=True),
        tokenizer_2=tokenizer(16, end=True),
        tokenizer_3=None,
    ).save_pretrained(folder)
    return folder


def _tiny_decoder() -> AutoencoderTiny:
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=4,
    )
    vae.register_to_config(block_out_channels=(8, 8, 8))
    return vae


def _large_decoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(SPECIAL + WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        max_position_embeddings=16,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
