"""Training batches: prompts padded on the left, and the answers: 65 codes of the scene that they ask for, or words.

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
    """`prompts` and `mask`: [batch, length]; `answers`: [batch, 65] codes, or words that <eos> ends, then <pad>.

    `pictures` are looked at: uint8 [batch, 3, height, width], for which the prompts hold <image_placeholder>s.
    """

    prompts: Tensor
    mask: Tensor
    answers: Tensor
    pictures: Tensor | None = None
    in_words: bool = False

    def plain(self) -> list[Tensor | bool | None]:
        """What a checkpoint may hold, in the order in which a batch is made of it."""
        return [self.prompts, self.mask, self.answers, self.pictures, self.in_words]


def sample_batches(
    codebook: Codebook, tokenizer: PreTrainedTokenizerFast, rng: Random, size: int, count: int = 4
) -> list[Batch]:
    """`count` batches of `size` scenes that training may see, prompts of like length together to pad less."""
    drawn = []
    for _ in range(size * count):
        scene = codebook.world.sample(rng)
        prompt = prompt_tokens(tokenizer, caption(scene, rng))
        drawn.append((emptied(prompt) if rng.random() < EMPTIED else prompt, scene))
    drawn.sort(key=lambda pair: len(pair[0]))
    batches = []
    for start in range(0, len(drawn), size):
        prompts, scenes = zip(*drawn[start : start + size], strict=True)
        batches.append(Batch(*pad_left(prompts), encode_scenes(codebook, scenes)))
    rng.shuffle(batches)
    return batches


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
