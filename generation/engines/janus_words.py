"""Words from Janus: the likeliest each time, as they come, until it says that the answer is over."""

from collections.abc import Collection, Iterator

import torch
from transformers import DynamicCache, JanusForConditionalGeneration

from generation.engines.janus_loop import embed
from generation.engines.precision import require_finite

LONGEST_ANSWER = 64  # tokens


def say_words(
    network: JanusForConditionalGeneration, rows: torch.Tensor, seen: torch.Tensor, ends: Collection[int]
) -> Iterator[int]:
    """Yield the answer's tokens, without the one that ends it; closing the iterator stops the work."""
    cache = DynamicCache(config=network.config.text_config)
    with torch.inference_mode():
        embeddings = embed(network, rows, seen)
    for _ in range(LONGEST_ANSWER):
        with torch.inference_mode():  # not around the yield: the caller's code is none of its business
            hidden = network.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
            logits = network.lm_head(hidden.last_hidden_state[:, -1])
            word = int(require_finite(logits, "logits of the words").argmax())
            embeddings = embed(network, torch.tensor([[word]]), None)
        if word in ends:
            return
        yield word
