"""Our own loop over the parts of Janus: seeded, cancelable, sampled in float32, guidance on or off, several pictures.

transformers' `generate` in image mode has none of these: no generator, no stopping, no way to switch guidance off.
A picture may join while others are drawn and leave at any code; what it becomes does not depend on its company.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import JanusForConditionalGeneration

from generation.engines.janus_core import JanusCore
from generation.engines.llama import Memory
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


@dataclass(slots=True)
class Seat:
    """One picture that is drawn. `rows`: [1 or 2, length] words, the second row for guidance.

    `seen`: features of the picture to look at, for which the rows hold placeholders.
    """

    rows: torch.Tensor
    sampling: Sampling
    generator: torch.Generator
    tokens: int
    allowed: Callable[[int], slice]
    seen: torch.Tensor | None = None
    codes: list[int] = field(default_factory=list)
    memory: Memory | None = None

    @property
    def done(self) -> bool:
        """Whether every code is drawn."""
        return len(self.codes) == self.tokens


def draw_together(core: JanusCore, seats: Sequence[Seat]) -> list[torch.Tensor]:
    """[1 or 2, codes] logits of the next code of every seat, to `take` it from. Newcomers read their words first."""
    with torch.inference_mode():
        fresh = [seat for seat in seats if seat.memory is None]
        going = [seat for seat in seats if seat.memory is not None]
        hidden: dict[int, torch.Tensor] = {}
        for seat in fresh:
            seat.memory = core.remember(len(seat.rows), seat.rows.shape[1] + seat.tokens)
            hidden[id(seat)] = core.read(seat.rows, seat.memory, seat.seen)
        if going:
            memories = [seat.memory for seat in going if seat.memory is not None]
            stepped = core.step([seat.codes[-1] for seat in going], memories)
            parts = torch.split(stepped, [memory.rows for memory in memories])
            hidden.update((id(seat), part) for seat, part in zip(going, parts, strict=True))
        logits = core.score_codes(torch.cat([hidden[id(seat)] for seat in seats]))
        return list(torch.split(logits, [len(seat.rows) for seat in seats]))


def take(seat: Seat, logits: torch.Tensor) -> int:
    """Choose the seat's next code. Raises InvalidNumbersError."""
    with torch.inference_mode():
        code = choose(logits, seat.sampling, seat.generator, seat.allowed(len(seat.codes)))
    seat.codes.append(code)
    return code


def draw_codes(core: JanusCore, seat: Seat) -> Iterator[int]:
    """Yield the codes of one picture, each as it is drawn; closing the iterator stops the work."""
    while not seat.done:
        [logits] = draw_together(core, [seat])
        yield take(seat, logits)


def look(network: JanusForConditionalGeneration, picture: torch.Tensor) -> torch.Tensor:
    """[1, places, width]: what the language model gets to see of a picture that was prepared for the vision tower."""
    with torch.inference_mode():
        scaled = picture.to(network.device, network.dtype)
        seen: torch.Tensor = network.model.get_image_features(scaled, return_dict=True).pooler_output
    return require_finite(seen, "features of the picture")


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
