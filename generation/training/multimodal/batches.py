"""Training batches: prompts padded on the left, and the 65 codes of the scene they ask for.

A share of the prompts is emptied the way Janus does for guidance: every word becomes <pad>, in the same length, and
is attended. Draws only from `World.sample`, so held-out combinations never reach the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.vocabulary import BOI, PAD
from generation.training.world import Scene, caption

EMPTIED = 0.07


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`prompts` and `mask`: [batch, length]; `codes`: [batch, 65]."""

    prompts: Tensor
    mask: Tensor
    codes: Tensor


def sample_batch(codebook: Codebook, tokenizer: PreTrainedTokenizerFast, rng: Random, size: int) -> Batch:
    """`size` scenes that training may see, with their captions."""
    scenes = [codebook.world.sample(rng) for _ in range(size)]
    prompts = [prompt_tokens(tokenizer, caption(scene, rng)) for scene in scenes]
    prompts = [emptied(prompt) if rng.random() < EMPTIED else prompt for prompt in prompts]
    padded, mask = pad_left(prompts)
    return Batch(padded, mask, encode_scenes(codebook, scenes))


def prompt_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """<bos> words <begin_of_image>."""
    return [*tokenizer(text, truncation=True)["input_ids"], BOI]


def emptied(prompt: Sequence[int]) -> list[int]:
    """The unconditional prompt of the same length."""
    return [prompt[0], *[PAD] * (len(prompt) - 2), prompt[-1]]


def pad_left(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """All prompts end together, so that drawing begins at one place."""
    longest = max(map(len, prompts))
    padded = torch.full((len(prompts), longest), PAD)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        padded[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return padded, mask


def encode_scenes(codebook: Codebook, scenes: Sequence[Scene]) -> Tensor:
    return torch.from_numpy(np.stack([codebook.encode(scene) for scene in scenes]))
