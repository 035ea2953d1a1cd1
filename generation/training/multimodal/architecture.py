"""The starter's shape: a stock Janus, small, and how its weights begin.

The tables begin factorised: a tile's row is made of a random vector for its noun and one for its cell, and the words
of a noun begin with the same vector. The network then has to learn to carry a vector from a word to its places, and 52
cells, instead of 9,000 unrelated tiles times 400 words; training moves the tables on from there.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.vocabulary import BOI, BOS, EOI, EOS, IMAGE, PAD, ROOM, words_of
from generation.training.world import CANVAS, COLOURS, TILE

WIDTH, LAYERS, HEADS, INNER = 256, 5, 4, 704
CODE_WIDTH, CODE_CELL = 64, 16  # of generation_embeddings, and its share that tells the cell
HEAD_CELL = 64  # share of the head's WIDTH that tells the cell
WORD_SCALE = 1.5  # length of a word's vector at the beginning
COMMON = {*COLOURS, "of", "and", "big", "ball", "cup", "glass"}  # words in nouns' names that name no noun
DRAWING = ("language_model", "generation_embeddings", "generation_aligner", "generation_head")
SEEING = ("vision_model", "aligner")
HEAD_WIDTH = 64
LONGEST_SEQUENCE = 512  # a picture to look at, an instruction, a picture to draw: 64 + 64 + 65, and room


def build_config(codes: int, tokens: int) -> JanusConfig:
    """`codes` picture codes, `tokens` of them a picture."""
    text = LlamaConfig(
        vocab_size=ROOM,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_WIDTH,
        max_position_embeddings=LONGEST_SEQUENCE,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},  # short sequences: no slow frequencies needed
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    # One patch of the vision tower is exactly one tile.
    vision = JanusVisionConfig(
        hidden_size=192,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=CANVAS,
        patch_size=TILE,
        mlp_ratio=3.0,
        projection_dim=WIDTH,
        num_image_tokens=tokens,
    )
    # The pixels come from the mosaic; this autoencoder is only here because a stock Janus has one.
    vq = JanusVQVAEConfig(
        embed_dim=CODE_WIDTH,
        num_embeddings=codes,
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1],
        num_res_blocks=1,
        projection_dim=WIDTH,
        image_token_embed_dim=WIDTH,
    )
    return JanusConfig(text_config=text, vision_config=vision, vq_config=vq, image_token_id=IMAGE)


def build_model(codebook: Codebook, tokenizer: PreTrainedTokenizerFast, seed: int) -> JanusForConditionalGeneration:
    """A fresh network for this codebook; the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = JanusForConditionalGeneration(build_config(codebook.mosaic.codes, codebook.mosaic.tokens))
    model.generation_config = generation_config()
    inner, head, aligner = model.model, model.model.generation_head, model.model.generation_aligner
    nouns = torch.randn(len(codebook.world.nouns), CODE_WIDTH - CODE_CELL) / (CODE_WIDTH - CODE_CELL) ** 0.5
    with torch.no_grad():
        inner.generation_embeddings.weight.copy_(code_table(codebook, nouns, CODE_CELL))
        head.vision_head.weight.copy_(code_table(codebook, spread(nouns, WIDTH - HEAD_CELL), HEAD_CELL))
        head.vision_head.bias.zero_()
        inner.vqmodel.quantize.embedding.weight.zero_()
        for layer in (aligner.fc1, *aligner.hidden_layers, head.proj_out):
            nn.init.normal_(layer.weight, std=(2.0 / layer.in_features) ** 0.5)
        words = inner.language_model.embed_tokens.weight
        nn.init.normal_(words, std=WORD_SCALE / WIDTH**0.5)
        for word, vector in word_vectors(codebook, tokenizer, spread(nouns, WIDTH)).items():
            words[word].mul_(0.25).add_(vector, alpha=WORD_SCALE)
    return model


def read_model(folder: Path, codebook: Codebook) -> JanusForConditionalGeneration:
    """The network of an exported folder, in float32, to go on with. Its codes must be those of this codebook."""
    model = JanusForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if model.config.vq_config.num_embeddings != codebook.mosaic.codes:
        raise ValueError(f"{folder} was made for another codebook than this world has: train from nothing.")
    return model


def spread(nouns: Tensor, width: int) -> Tensor:
    """The noun vectors in another width, angles and lengths kept."""
    turn, _ = torch.linalg.qr(torch.randn(width, nouns.shape[1]))
    wider: Tensor = nouns @ turn.T
    return wider


def code_table(codebook: Codebook, nouns: Tensor, cell_width: int) -> Tensor:
    """[codes, width]: noun part and cell part, each of about unit length; grounds and the empty tile are their own."""
    cells = torch.randn(codebook.cells, cell_width) / cell_width**0.5
    origin = torch.from_numpy(codebook.origin)
    tiles = torch.cat([nouns[origin[:, 0]], cells[origin[:, 1]]], dim=1)
    others = torch.randn(codebook.mosaic.empty + 1, tiles.shape[1]) * (2.0 / tiles.shape[1]) ** 0.5
    return torch.cat([others, tiles])


def word_vectors(codebook: Codebook, tokenizer: PreTrainedTokenizerFast, nouns: Tensor) -> dict[int, Tensor]:
    """Token to unit vector for the words that name nouns: "tree" lies between all the trees, nearest to the tree."""
    found: dict[int, Tensor] = {}
    for vector, noun in zip(nouns, codebook.world.nouns, strict=True):
        for phrase in noun.words:
            words = [word for word in words_of([phrase]) if word not in COMMON]
            for word in words:
                token = tokenizer.convert_tokens_to_ids(word)
                found[token] = found.get(token, torch.zeros_like(vector)) + vector / len(words) ** 2
    is_noun = nn.functional.normalize(torch.randn(nouns.shape[1]), dim=0)  # what all nouns share, for attention to find
    return {token: nn.functional.normalize(vector, dim=0) + 0.5 * is_noun for token, vector in found.items()}


def generation_config() -> GenerationConfig:
    """What a sampler must know, under the names that Janus itself uses."""
    return GenerationConfig(
        do_sample=True,
        temperature=0.3,
        guidance_scale=1.0,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        max_length=LONGEST_SEQUENCE,
        generation_kwargs={"boi_token_id": BOI, "eoi_token_id": EOI},
    )


def drawing_parameters(model: JanusForConditionalGeneration) -> dict[str, nn.Parameter]:
    """The parameters that drawing uses; the vision tower and the unused autoencoder stay as they are."""
    return _named(model, *(f"model.{part}." for part in DRAWING))


def seeing_parameters(model: JanusForConditionalGeneration) -> dict[str, nn.Parameter]:
    """The parameters that turn a picture into features for the language model."""
    return _named(model, *(f"model.{part}." for part in SEEING))


def _named(model: JanusForConditionalGeneration, *used: str) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if name.startswith(used)}
