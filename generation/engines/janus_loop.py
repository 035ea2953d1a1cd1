"""Our own loop over the public parts of Janus: seeded, cancelable, sampled in float32, guidance on or off.

transformers' `generate` in image mode has none of these: no generator, no stopping, no way to switch guidance off.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import DynamicCache, JanusForConditionalGeneration

from generation.engines.precision import require_finite


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
) -> Iterator[int]:
    """Yield `tokens` picture codes, each as it is drawn; closing the iterator stops the work."""
    cache = DynamicCache(config=network.config.text_config)
    with torch.inference_mode():
        embeddings = network.get_input_embeddings()(rows.to(network.device))
    for position in range(tokens):
        with torch.inference_mode():  # not around the yield: the caller's code is none of its business
            hidden = network.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
            logits = network.model.generation_head(hidden.last_hidden_state[:, -1])
            code = choose(logits, sampling, generator, allowed(position))
            embeddings = network.prepare_embeddings_for_image_generation(
                torch.full((len(rows), 1), code, device=network.device)
            )
        yield code


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
