"""A tiny Emu3 as it is published: byte-level tokenizer, chat template, processor, codes and marks in its vocabulary."""

import json
from pathlib import Path

import torch
from transformers import (
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3ImageProcessor,
    Emu3Processor,
    Emu3TextConfig,
    GenerationConfig,
)
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig

from tests.generation.engines.tiny_janus_chat import byte_tokenizer

CODES = 96
SIZES = ((64, 48), (48, 64), (64, 64))
SPECIAL = (
    "<|endoftext|>",
    "<|extra_203|>",
    "<|extra_204|>",
    "<image>",
    "<|image start|>",
    "<|image end|>",
    "<|image token|>",
    "<|extra_200|>",
    "<|extra_201|>",
)
VISUAL = tuple(f"<|visual token {code:06d}|>" for code in range(CODES))
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def save_emu3(folder: Path, *, chats: bool = True, positions: int = 700, guidance: float | None = None) -> Path:
    """It draws small pictures of several shapes; and it says different things of different pictures."""
    tokenizer = byte_tokenizer(
        (*SPECIAL, *VISUAL),
        begin=None,
        longest=10_000,
        bos_token="<|extra_203|>",
        eos_token="<|extra_204|>",
        pad_token="<|endoftext|>",
        image_token="<image>",
        boi_token="<|image start|>",
        eoi_token="<|image end|>",
        image_wrapper_token="<|image token|>",
        eof_token="<|extra_201|>",
    )
    images = Emu3ImageProcessor(
        min_pixels=24 * 24, max_pixels=64 * 64, image_mean=[0.5, 0.45, 0.4], image_std=[0.5, 0.4, 0.3]
    )
    Emu3Processor(images, tokenizer, chat_template=TEMPLATE if chats else None).save_pretrained(folder)
    network = _network(dict(tokenizer.get_vocab()), positions)
    network.generation_config = GenerationConfig(
        do_sample=True, top_k=32, guidance_scale=guidance, pad_token_id=0, eos_token_id=2
    )
    network.save_pretrained(folder)
    own = {"sizes": [list(size) for size in SIZES]}
    (folder / "tessera.json").write_text(json.dumps(own), encoding="utf-8")
    return folder


def _network(vocabulary: dict[str, int], positions: int) -> Emu3ForConditionalGeneration:
    torch.manual_seed(6)
    config = Emu3Config(
        vq_config=Emu3VQVAEConfig(
            codebook_size=CODES,
            base_channels=32,
            channel_multiplier=[1, 1, 1, 2],
            num_res_blocks=1,
            hidden_size=64,
        ),
        text_config=Emu3TextConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=positions,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        vocabulary_map=vocabulary,
    )
    network = Emu3ForConditionalGeneration(config)
    with torch.no_grad():  # a fresh network hardly heeds what it reads
        network.model.vqmodel.quantize.embedding.weight.normal_()
        network.model.text_model.embed_tokens.weight.mul_(20)
        for weight in network.model.text_model.layers.parameters():
            if weight.ndim == 2:
                weight.mul_(12)
        torch.manual_seed(3)
        network.lm_head.weight.normal_(std=2.0)
        network.lm_head.weight[2] *= 2.5
    return network.eval()
