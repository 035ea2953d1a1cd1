"""Tiny real tokenizers and text encoders for the families of pipelines: every byte or letter is a word to them."""

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from generation.engines.diffusion_reading import without_films

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


@cache
def bytes_of_qwen() -> dict[str, int]:
    return {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}


def clip_tokenizer(longest: int = 16) -> CLIPTokenizer:
    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={p: n for n, p in enumerate(pieces)}, merges=[], model_max_length=longest)


def clip(width: int = 16, *, projects: bool = False, longest: int = 16) -> Any:
    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        max_position_embeddings=longest,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def t5_tokenizer(longest: int = 64) -> T5Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=longest)


def t5(width: int = 16, kind: Any = T5EncoderModel, vocabulary: int = 384) -> Any:
    return kind(T5Config(vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def gemma_tokenizer(longest: int = 512) -> GemmaTokenizer:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *LETTERS, *(f"<0x{byte:02X}>" for byte in range(256))]
    return GemmaTokenizer(vocab={p: n for n, p in enumerate(pieces)}, merges=[], model_max_length=longest)


def gemma(width: int = 16) -> Gemma2Model:
    return Gemma2Model(Gemma2Config(vocab_size=288, **decoder(width), query_pre_attn_scalar=8, pad_token_id=0))


def decoder(width: int, layers: int = 2) -> dict[str, Any]:
    """What configurations of decoders have in common."""
    return {
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 2048,
    }


def qwen_tokenizer(longest: int = 2048) -> Qwen2Tokenizer:
    made = Qwen2Tokenizer(vocab=bytes_of_qwen(), merges=[], model_max_length=longest)
    made.add_special_tokens({"extra_special_tokens": list(MARKS)})
    made.chat_template = CHAT
    return made


def qwen3(width: int = 16, layers: int = 2, kind: Any = Qwen3ForCausalLM) -> Any:
    return kind(Qwen3Config(vocab_size=264, **decoder(width, layers)))


def qwen_seeing(width: int = 16, layers: int = 2) -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL: reads words and pictures."""
    marks = {
        name: qwen_tokenizer().convert_tokens_to_ids(mark)
        for name, mark in zip(
            ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"), MARKS[2:], strict=True
        )
    }
    text = {k: v for k, v in decoder(width, layers).items() if k != "head_dim"}
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [width // 8, width // 16, width // 16]}
    config = Qwen2_5_VLConfig(
        text_config={**text, "vocab_size": 264, "rope_scaling": rope, "rope_theta": 10_000.0},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": width,
            "fullatt_block_indexes": [0],
            "window_size": 56,
        },
        **marks,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen_processor() -> Qwen2VLProcessor:
    kind = without_films(Qwen2VLProcessor)
    return kind(Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=784 * 4), qwen_tokenizer(), chat_template=CHAT)


def louder(*networks: torch.nn.Module) -> None:
    """Fresh weights are so quiet that every prompt would draw the same."""
    with torch.no_grad():
        for network in networks:
            for weight in network.parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.3)


def pixtral_tokenizer() -> PreTrainedTokenizerFast:
    """The words of what FLUX.2 reads with; its processor cannot be made without torchvision."""
    marks = ["<pad>", "<s>", "</s>", "<unk>", *MARKS[:2]]
    vocabulary = {**bytes_of_qwen(), **{mark: 256 + n for n, mark in enumerate(marks)}}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
    inner.add_special_tokens([*marks, "[IMG_BREAK]", "[IMG_END]", "[IMG]"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=2048
    )
    tokenizer.chat_template = CHAT
    return tokenizer
