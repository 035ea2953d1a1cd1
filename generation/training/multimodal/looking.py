"""Looking: how a picture gets into a sequence. 64 placeholders stand in the prompt, one for each tile of the picture.

The words come first, so that the network reads the picture knowing what is asked, and so that the tile which is drawn
always stands at the same distance from the tile that was seen. Must stay what stock Janus does with `pixel_values`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from generation.engines.mosaic import Pixels
from generation.training.multimodal.vocabulary import BOI, EOI, IMAGE, UNK
from generation.training.world import COLUMNS, ROWS

MIDDLE, HALF = 127.5, 127.5  # pixels become -1..1, as with Janus' own image processor (mean and deviation 0.5)


def question_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """<bos> words, the picture, <end_of_image>: what is answered in words. Nobody's words are taken for a picture."""
    words = [UNK if word == IMAGE else word for word in tokenizer(text, truncation=True)["input_ids"]]
    return [*words, *[IMAGE] * (ROWS * COLUMNS), EOI]


def instruction_tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The same and <begin_of_image>: what is answered with a picture."""
    return [*question_tokens(tokenizer, text), BOI]


def stack_pictures(pictures: Sequence[Pixels]) -> Tensor:
    """uint8 [n, 3, height, width]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def features(model: JanusForConditionalGeneration, pictures: Tensor) -> Tensor:
    """[n, 64, width]: what the language model gets to see of these pictures."""
    seen: Tensor = model.model.get_image_features((pictures.float() - MIDDLE) / HALF, return_dict=True).pooler_output
    return seen


def embed_prompts(model: JanusForConditionalGeneration, prompts: Tensor, pictures: Tensor | None = None) -> Tensor:
    """[n, length, width]: words as vectors, and the picture's features where the placeholders stand."""
    words: Tensor = model.model.language_model.embed_tokens(prompts)
    if pictures is None:
        return words
    return words.masked_scatter((prompts == IMAGE).unsqueeze(-1), features(model, pictures))
