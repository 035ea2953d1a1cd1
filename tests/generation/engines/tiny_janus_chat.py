"""A tiny Janus as the makers' own come: a byte-level tokenizer, a chat template, a processor, no tessera.json."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

EDGE = 16
SPECIAL = ("<pad>", "<s>", "</s>", "<begin_of_image>", "<end_of_image>", "<image_placeholder>", "<|User|>")
PAIRS = (("c", "a"), ("ca", "t"), ("d", "o"), ("do", "g"), ("Ġ", "cat"))

# the form of the real one: who speaks, the picture on its own line, an empty line before the answer
TEMPLATE = (
    "{% for message in messages %}<|User|>: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image_placeholder>{{ '\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{{ '\n\n' }}{% endfor %}{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def byte_tokenizer(
    special: tuple[str, ...], *, begin: str | None, longest: int, **named: str
) -> PreTrainedTokenizerFast:
    """A letter a token, but for a few words; the kind of tokenizer that real checkpoints have."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: number for number, word in enumerate([*special, *letters, *map("".join, PAIRS)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=list(PAIRS)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, vocabulary[begin])]
        )
    extra = {name: named.pop(name) for name in list(named) if name not in ("bos_token", "eos_token", "pad_token")}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens=extra,
        padding_side="left",
        model_max_length=longest,
        **named,
    )


def save_chatting(folder: Path, *, system: bool = True, positions: int = 900) -> Path:
    """It says several words of a picture, and other ones of another."""
    tokenizer = byte_tokenizer(
        SPECIAL,
        begin="<s>",
        longest=positions,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        boi_token="<begin_of_image>",
        eoi_token="<end_of_image>",
        image_token="<image_placeholder>",
    )
    images = JanusImageProcessorPil(
        size={"height": EDGE, "width": EDGE}, min_size=2, image_mean=[0.5, 0.4, 0.3], image_std=[0.5, 0.6, 0.7]
    )
    JanusProcessor(
        images, tokenizer, chat_template=TEMPLATE, use_default_system_prompt=system, num_image_tokens=64
    ).save_pretrained(folder)
    network = _network(len(tokenizer), positions)
    network.save_pretrained(folder)
    return folder


def _network(words: int, positions: int) -> JanusForConditionalGeneration:
    torch.manual_seed(5)
    network = JanusForConditionalGeneration(
        JanusConfig(
            text_config={
                "model_type": "llama",
                "vocab_size": words,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "max_position_embeddings": positions,
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
            },
            vision_config={
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": EDGE,
                "patch_size": 2,
                "num_image_tokens": 64,
                "projection_dim": 32,
            },
            vq_config={
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "latent_channels": 16,
                "num_embeddings": 128,
                "embed_dim": 8,
                "num_patches": 8,
                "projection_dim": 32,
                "image_token_embed_dim": 32,
            },
            image_token_id=SPECIAL.index("<image_placeholder>"),
            tie_word_embeddings=False,
        )
    )
    network.generation_config = GenerationConfig(
        bos_token_id=1,
        pad_token_id=0,
        eos_token_id=2,
        do_sample=True,
        temperature=1.0,
        guidance_scale=2.0,
        generation_kwargs={"boi_token_id": SPECIAL.index("<begin_of_image>")},
    )
    _open_eyes(network)
    return network


def _open_eyes(network: JanusForConditionalGeneration) -> None:
    """A fresh network hardly heeds its picture, and says one word for ever."""
    with torch.no_grad():
        network.model.generation_head.vision_head.weight.normal_(std=2.0)
        for part in (network.model.aligner, network.model.language_model.layers):
            for weight in part.parameters():
                if weight.ndim == 2:
                    weight.mul_(12)
        network.model.language_model.embed_tokens.weight.mul_(20)
        torch.manual_seed(3)  # answers of several lengths, most of them ended by </s>
        network.lm_head.weight.normal_(std=2.0)
        network.lm_head.weight[2] *= 2.5
