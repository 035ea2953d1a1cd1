"""Words from Janus: the likeliest each time, as they come, until it says that the answer is over."""

from collections.abc import Collection, Iterator

import torch

from generation.engines.janus_core import JanusCore
from generation.engines.precision import require_finite

LONGEST_ANSWER = 64  # tokens
LONGEST_CHAT = 512  # tokens, of a checkpoint that was trained for whole conversations


def say_words(
    core: JanusCore, rows: torch.Tensor, seen: torch.Tensor, ends: Collection[int], longest: int = LONGEST_ANSWER
) -> Iterator[int]:
    """Yield the answer's tokens, without the one that ends it; closing the iterator stops the work."""
    memory = core.remember(len(rows), rows.shape[1] + longest)
    with torch.inference_mode():  # not around the yield: the caller's code is none of its business
        hidden = core.read(rows, memory, seen)
    for _ in range(longest):
        with torch.inference_mode():
            word = int(require_finite(core.score_words(hidden), "logits of the words").argmax())
        if word in ends:
            return
        yield word
        with torch.inference_mode():
            hidden = core.say(word, memory)
