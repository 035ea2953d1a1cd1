"""Our own loop over the parts of Emu3: seeded, cancelable, sampled in float32, guidance on or off.

transformers' `generate` draws with Emu3 too, but takes no generator, and for guidance it runs the network a second time
for every code. Here the weights are read once for both rows, and only the logits of picture codes are computed.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch

from generation.engines.emu3_core import Emu3Core
from generation.engines.emu3_marks import Marks
from generation.engines.emu3_prompt import Grid, Prompt
from generation.engines.precision import require_finite


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a code is chosen from the logits, among the `top` likeliest. Temperature 0 is greedy.

    Guidance 1 or below is off.
    """

    temperature: float
    guidance: float
    top: int

    @property
    def guided(self) -> bool:
        """Whether a second row, without the words, is needed."""
        return self.guidance > 1


def draw_codes(
    core: Emu3Core, prompt: Prompt, grid: Grid, marks: Marks, sampling: Sampling, generator: torch.Generator
) -> Iterator[int]:
    """Yield the codes of a picture row by row, each as it is drawn; closing the iterator stops the work."""
    rows, columns = grid
    with torch.inference_mode():  # not around the yield: the caller's code is none of its business
        hidden, memories = core.read(prompt.rows, rows * (columns + 1))
    for position in range(1, rows * columns + 1):
        with torch.inference_mode():
            code = choose(core.score_codes(hidden), sampling, generator)
        yield code
        if position == rows * columns:
            return
        with torch.inference_mode():
            hidden = core.step(marks.first + code, memories)
            if position % columns == 0:
                hidden = core.step(marks.row_end, memories)


def say_words(core: Emu3Core, prompt: Prompt, ends: Collection[int], longest: int) -> Iterator[int]:
    """Yield an answer's tokens, the likeliest each time, without the one that ends it."""
    with torch.inference_mode():
        hidden, memories = core.read(prompt.rows, longest)
    for _ in range(longest):
        with torch.inference_mode():
            word = int(require_finite(core.score_words(hidden), "logits of the words").argmax())
        if word in ends:
            return
        yield word
        with torch.inference_mode():
            hidden = core.step(word, memories)


def choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One code from [1 or 2, codes] logits, on the CPU and in float32, so that a seed means the same everywhere."""
    logits = require_finite(logits.float().cpu(), "logits of the picture codes")
    scores = logits[0]
    if sampling.guided:
        scores = logits[1] + sampling.guidance * (logits[0] - logits[1])
    if sampling.temperature == 0:
        return int(scores.argmax())
    best, codes = scores.topk(min(sampling.top, len(scores)))
    chances = (best / sampling.temperature).softmax(-1)
    return int(codes[torch.multinomial(chances, 1, generator=generator)])
