"""A tiny real GLM-Image on disk: the part that draws codes, the transformer that makes a picture of them, and the rest.

Its own proportions are kept: 32 px a code, twice as many places a side for the transformer, 8 px a latent place.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImagePipeline, GlmImageTransformer2DModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    ByT5Tokenizer,
    GenerationConfig,
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageImageProcessor,
    GlmImageProcessor,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

CODES = 96
START, END = CODES, CODES + 1
WORDS = ("a", "cat", "dog", "left", "of", "pizza", "on", "blue", "red", "make", "it", "white", *map(str, range(1, 33)))
SPECIAL = ("<sop>", "<eop>", "<|image|>", "<pad>", "<unk>")
TEMPLATE = (
    "{%- for message in messages -%}{%- for item in message.content -%}"
    "{%- if item.type == 'image' -%}<|dit_token_96|><|image|><|dit_token_97|>"
    "{%- else -%}{{ item.text }}{%- endif -%}"
    "{%- endfor -%}{%- endfor -%}"
)


def save_glm_image(folder: Path, *, sizes: str = "[[64, 64], [96, 64]]") -> Path:
    """A GlmImagePipeline that draws 64 x 64 and 96 x 64, as it is saved by the library."""
    torch.manual_seed(5)
    GlmImagePipeline(
        tokenizer=ByT5Tokenizer(),
        processor=_processor(),
        text_encoder=T5EncoderModel(_glyph_config()).eval(),
        vision_language_encoder=_codes_network(),
        vae=_decoder(),
        transformer=_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75),
    ).save_pretrained(folder)
    (folder / "tessera.json").write_text(f'{{"sizes": {sizes}, "defaults": {{"steps": 4}}}}', encoding="utf-8")
    return folder


def _processor() -> GlmImageProcessor:
    vocabulary = [*(f"<|dit_token_{code}|>" for code in range(CODES + 8)), *SPECIAL, *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=f"<|dit_token_{START}|>",
        eos_token=f"<|dit_token_{END}|>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"},
        padding_side="left",
    )
    pictures = GlmImageImageProcessor(
        patch_size=16,
        temporal_patch_size=1,
        merge_size=1,
        size={"shortest_edge": 32 * 32, "longest_edge": 256 * 256},
    )
    return GlmImageProcessor(image_processor=pictures, tokenizer=fast, chat_template=TEMPLATE)


def _codes_network() -> GlmImageForConditionalGeneration:
    config = GlmImageConfig(
        text_config={
            "vocab_size": CODES + 8 + len(SPECIAL) + len(WORDS),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 2048,
            "vision_vocab_size": CODES + 8,
            "eos_token_id": END,
            "pad_token_id": CODES + 11,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "num_heads": 2,
            "image_size": 128,
            "patch_size": 16,
            "intermediate_size": 32,
        },
        vq_config={"embed_dim": 16, "num_embeddings": CODES, "latent_channels": 32},
        image_token_id=CODES + 10,
        image_start_token_id=START,
        image_end_token_id=END,
    )
    network = GlmImageForConditionalGeneration(config).eval()
    network.generation_config = GenerationConfig(
        do_sample=True, temperature=0.9, top_p=0.75, eos_token_id=END, pad_token_id=CODES + 11
    )
    with torch.no_grad():  # fresh heads are so flat that every prompt would draw the same; fresh eyes see no colours
        network.lm_head.weight.normal_(std=1.0)
        network.lm_head.weight[CODES:] = 0  # as a trained one: within a picture nothing but codes
        network.model.language_model.embed_tokens.weight.normal_()
        network.model.visual.patch_embed.proj.weight.mul_(20)
    return network


def _glyph_config() -> T5Config:
    return T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)


def _transformer() -> GlmImageTransformer2DModel:
    network = GlmImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=CODES,
    )
    return network.eval()


def _decoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[1.5, 1.2, 0.8, 1.0],
    ).eval()
