"""Four users of one checkpoint of Janus-Pro-1B's shape: side by side against one after the other. Float32, all decoded.

One is drawn alone before the four and one after them, since a machine that others use too gets slower and faster.
Takes ten to twenty minutes and 9 GB.
"""

import time

import numpy as np

from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Seat, draw_together, take
from tests.bench.janus_shapes import TimedDecoder, draw_all, janus_1b, seat_for, words
from tests.bench.rows import Row

USERS, TOKENS, CODES = 4, 576, 16384
SOME = 48  # codes of the comparison without guidance
LENGTHS = (12, 24, 40, 18)  # of the prompts
ALONE = (0, 2)  # those that are also drawn by themselves: the shortest and the longest prompt


def rows() -> list[Row]:
    """Figures and bars."""
    network = janus_1b()
    core = JanusCore(network)
    prompts = [words(number, length) for number, length in enumerate(LENGTHS)]
    before = alone(core, prompts[ALONE[0]])
    together = [seat_for(prompt, TOKENS, CODES) for prompt in prompts]
    at_once = [TimedDecoder(network) for _ in prompts]
    side_by_side = draw_all(core, together, at_once)
    singles = [before, alone(core, prompts[ALONE[1]])]
    one_by_one = sum(seconds for _, _, seconds in singles) * USERS / len(ALONE)
    same = sum(
        together[number].codes == seat.codes and np.array_equal(at_once[number].whole, decoder.whole)
        for number, (seat, decoder, _) in zip(ALONE, singles, strict=True)
    )
    remark = (
        f"side by side {side_by_side:.1f} s; {len(ALONE)} of the {USERS} were drawn alone too, so one after the other "
        f"is {one_by_one:.1f} s; guidance on, all streaming"
    )
    return [
        Row("batch, four users, 1B shape: throughput", one_by_one / side_by_side, 2.5, remark=remark),
        Row("batch, four users, 1B shape: pictures the same as alone", same, len(ALONE), unit="", remark="to the byte"),
        without_guidance(core, prompts),
    ]


def alone(core: JanusCore, prompt: list[int]) -> tuple[Seat, TimedDecoder, float]:
    """One picture by itself, and its seconds."""
    seat, decoder = seat_for(prompt, TOKENS, CODES), TimedDecoder(core.network)
    return seat, decoder, draw_all(core, [seat], [decoder])


def without_guidance(core: JanusCore, prompts: list[list[int]]) -> Row:
    """The first codes of a picture only, nothing decoded."""
    took = []
    for groups in ([[prompt] for prompt in prompts], [prompts]):
        began = time.perf_counter()
        for group in groups:
            seats = [seat_for(prompt, SOME, CODES, guidance=1.0) for prompt in group]
            for _ in range(SOME):
                for seat, logits in zip(seats, draw_together(core, seats), strict=True):
                    take(seat, logits)
        took.append(time.perf_counter() - began)
    remark = f"the first {SOME} codes, nothing decoded"
    return Row("batch, four users, 1B shape, no guidance: codes", took[0] / took[1], remark=remark)
