"""Our own loop over the public parts of Janus: seeded, cancelable, sampled in float32, guidance on or off.

transformers' `generate` in image mode has none of these: no generator, no stopping, no way to switch guidance off.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from transformers import DynamicCache, JanusForConditionalGeneration

from generation.engines.precision import require_finite

MIDDLE, HALF = 127.5, 127.5  # pixels become -1..1, as with Janus' own image processor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a code is chosen from the logits. Temperature 0 is greedy; guidance 1 or below is off."""

    temperature: float
    guidance: float

    @property
    def guided(self) -> bool:
        """Whether a second row, without the words, is needed."""
        return self.guidance > 1


def draw_codes(
    network: JanusForConditionalGeneration,
    rows: torch.Tensor,
    sampling: Sampling,
    generator: torch.Generator,
    *,
    tokens: int,
    allowed: Callable[[int], slice],
    seen: torch.Tensor | None = None,
) -> Iterator[int]:
    """Yield `tokens` picture codes, each as it is drawn; closing the iterator stops the work.

    `seen`: features of the picture to look at, for which the rows hold placeholders.
    """
    cache = DynamicCache(config=network.config.text_config)
    with torch.inference_mode():
        embeddings = embed(network, rows, seen)
    for position in range(tokens):
        with torch.inference_mode():  # not around the yield: the caller's code is none of its business
            hidden = network.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
            logits = network.model.generation_head(hidden.last_hidden_state[:, -1])
            code = choose(logits, sampling, generator, allowed(position))
            embeddings = network.prepare_embeddings_for_image_generation(
                torch.full((len(rows), 1), code, device=network.device)
            )
        yield code


def look(network: JanusForConditionalGeneration, picture: Image.Image) -> torch.Tensor:
    """[1, places, width]: what the language model gets to see of a picture of the vision tower's size."""
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        scaled = ((pixels.float() - MIDDLE) / HALF).to(network.device, network.dtype)
        seen: torch.Tensor = network.model.get_image_features(scaled, return_dict=True).pooler_output
    return require_finite(seen, "features of the picture")


def embed(network: JanusForConditionalGeneration, rows: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Words as vectors, and in every row the picture's features where its placeholders stand."""
    rows = rows.to(network.device)
    words: torch.Tensor = network.get_input_embeddings()(rows)
    if seen is None:
        return words
    places = (rows == network.config.image_token_id).unsqueeze(-1)
    return words.masked_scatter(places, seen.to(words.dtype).expand(len(rows), -1, -1))


def choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator, allowed: slice) -> int:
    """One code from [1 or 2, codes] logits, on the CPU and in float32, so that a seed means the same everywhere."""
    first: int = allowed.start
    logits = require_finite(logits[:, allowed].float().cpu(), "logits of the picture codes")
    scores = logits[0]
    if sampling.guided:
        scores = logits[1] + sampling.guidance * (logits[0] - logits[1])
    if sampling.temperature == 0:
        return first + int(scores.argmax())
    chances = (scores / sampling.temperature).softmax(-1)
    return first + int(torch.multinomial(chances, 1, generator=generator))
