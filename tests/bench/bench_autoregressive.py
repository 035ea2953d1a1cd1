"""Our loop over Janus against transformers' own `generate`, greedy, float32: the starter and Janus-Pro-1B's shape.

At the 1B shape the library draws all 576 codes and decodes them once, in a process of its own as anybody would start
it; our side runs as in an engine room (with its allocator's settings), decodes and hands out its fragments meanwhile
and the final at the end. Tokens are counted until the last one is there: with the fragments, without the picture that
either side decodes then; whole pictures until that is there too. The two take turns, a row of codes each, and do it
all twice: once the library is loaded first, once ours. The weights are random there. Takes about a quarter of an hour
and 15 GB.
"""

import gc
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import JanusForConditionalGeneration

from generation.engines.child import ALLOCATOR
from generation.engines.decoder import quick_in_bfloat16
from generation.engines.int8 import works_in_int8
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import draw_codes, draw_together, take
from tests.bench.janus_shapes import GUIDANCE, TimedDecoder, draw_all, janus_1b, seat_for, words
from tests.bench.rival import Rival, begin_when_told, tell
from tests.bench.rows import Row

STARTER = Path(__file__).resolve().parents[2] / "generation" / "starter" / "multimodal"
# "a <thing> left of a <thing> on <colour>", by the starter's own words
STARTER_PROMPTS = [[1, 378, thing, 365, 108, 378, 7 + (5 * thing) % 300, 369, 311, 4] for thing in range(7, 301, 12)]
ROUNDS = 5
TOKENS, CODES = 576, 16384


def library(network: JanusForConditionalGeneration, prompt: list[int], guidance: float) -> tuple[list[int], float]:
    """Its codes and its seconds."""
    began = time.perf_counter()
    codes = network.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        generation_mode="image",
        do_sample=False,
        temperature=None,
        guidance_scale=guidance,
    )
    return codes[0].tolist(), time.perf_counter() - began


def library_apart() -> Rival:
    """The same at the 1B shape, in a process without any setting of ours."""
    code = "from tests.bench import bench_autoregressive as bench; bench.tell_library()"
    return Rival(code, {name: value for name, value in os.environ.items() if name not in ALLOCATOR})


def tell_library() -> None:
    """For `library_apart`."""
    network = janus_1b()
    begin_when_told()
    codes, _ = library(network, words(1), GUIDANCE)
    drawn = time.perf_counter()
    with torch.inference_mode():
        network.decode_image_tokens(torch.tensor([codes]))
    tell(codes, drawn)


def starter() -> list[Row]:
    """Both ways in turn; the middle of some rounds."""
    theirs = JanusForConditionalGeneration.from_pretrained(STARTER).eval()
    core = JanusCore(JanusForConditionalGeneration.from_pretrained(STARTER).eval())
    tokens, codes = theirs.config.vision_config.num_image_tokens, theirs.config.vq_config.num_embeddings
    took: dict[str, list[float]] = {"library": [], "ours": []}
    same = True
    for number in range(ROUNDS + 1):
        prompt = words(number, 10)
        expected, seconds = library(theirs, prompt, 3.0)
        took["library"].append(seconds)
        began = time.perf_counter()
        drawn = list(draw_codes(core, seat_for(prompt, tokens, codes, 3.0)))
        took["ours"].append(time.perf_counter() - began)
        same &= drawn == expected
    middle = {name: statistics.median(seconds[1:]) for name, seconds in took.items()}  # the first warms up
    remark = f"{tokens} codes, guidance 3, library {middle['library']:.3f} s, {told(same)}"
    return [Row("autoregressive, starter shape: tokens/s over the library", ratio(middle), 1.5, remark=remark)]


@dataclass(frozen=True)
class Pass:
    """A whole picture each, row by row in turn. Seconds until the last code, and until the picture is there."""

    codes: list[int]
    same: bool
    library: tuple[float, float]
    ours: tuple[float, float]
    fragments: list[Row]

    @classmethod
    def run(cls, *, library_first: bool) -> Self:
        """Where a machine's memory is of two speeds, who is loaded first has the slower: so either is, once."""
        early = library_apart() if library_first else None
        network = janus_1b()
        core, decoder = JanusCore(network), TimedDecoder(network)
        seat = seat_for(words(1), TOKENS, CODES)
        with early or library_apart() as rival:
            whole = draw_all(core, [seat], [decoder], rival)
            codes, (seconds, library_whole) = rival.finish()
        ours, same = (whole - decoder.last, whole), seat.codes == codes
        return cls(codes, same, (seconds, library_whole), ours, of_fragments(decoder, whole))

    @property
    def speed(self) -> float:
        """Ours over the library's, in codes."""
        return self.library[0] / self.ours[0]


def large() -> list[Row]:
    """Two passes; what fragments cost is told of the second."""
    first = Pass.run(library_first=True)
    gc.collect()
    second = Pass.run(library_first=False)
    gc.collect()
    both = [first, second]
    library_seconds = statistics.mean(one.library[0] for one in both)
    our_seconds = statistics.mean(one.ours[0] for one in both)
    remark = f"library {library_seconds / TOKENS:.3f} s a code, ours {our_seconds / TOKENS:.3f} s with fragments, "
    remark += f"{told(first.same and second.same)}; library loaded first {first.speed:.2f}, last {second.speed:.2f}"
    speed = statistics.geometric_mean(one.speed for one in both)
    wholes = statistics.geometric_mean(one.library[1] / one.ours[1] for one in both)
    rows = [
        Row("autoregressive, 1B shape, streaming: tokens/s over the library", speed, 1.0, remark=remark),
        Row("autoregressive, 1B shape, streaming: whole pictures", wholes, remark="with the final decoded"),
        *second.fragments,
    ]
    return rows + (int8(words(1), library_seconds, second.codes) if works_in_int8() else [])


def of_fragments(decoder: TimedDecoder, ours: float) -> list[Row]:
    """Of one picture that took `ours` seconds."""
    draft = "bfloat16" if quick_in_bfloat16() else "float32"
    share = f"{len(decoder.fragments)} fragments in {draft}, {decoder.spent:.1f} of {ours:.1f} s"
    return [
        Row("streaming, 1B shape: fragments' share of the time", 100 * decoder.spent / ours, 15, "most", "%", share),
        Row("streaming, 1B shape: time to the first fragment", 100 * decoder.first / ours, 8, "most", "%"),
        Row("streaming, 1B shape: mean error of a fragment", decoder.error(), unit="/255", remark="random weights"),
    ]


def int8(prompt: list[int], library_seconds: float, expected: list[int]) -> list[Row]:
    """The same weights in eight bits, against the library in float32."""
    network = janus_1b()
    core, decoder = JanusCore(network, int8=True), TimedDecoder(network)
    seat = seat_for(prompt, TOKENS, CODES)
    ours = draw_all(core, [seat], [decoder]) - decoder.last
    prefix = next(
        (place for place, pair in enumerate(zip(seat.codes, expected, strict=True)) if len(set(pair)) > 1), TOKENS
    )
    share = 100 * agreement(core, prompt, expected, CODES, GUIDANCE)
    name = "autoregressive, 1B shape, int8 weights"
    return [
        Row(f"{name}, streaming: tokens/s over the library", library_seconds / ours, 1.8, remark=f"ours {ours:.1f} s"),
        Row(f"{name}: best code as in float32", share, unit="%", remark="random weights, after the same codes"),
        Row(f"{name}: codes until the first other one", prefix, unit="", remark=f"of {TOKENS}, running free"),
        Row("streaming, 1B shape, int8: fragments' share of the time", 100 * decoder.spent / ours, unit="%"),
    ]


def starter_in_int8() -> list[Row]:
    """A network that was trained, for what random weights cannot tell."""
    full = JanusCore(JanusForConditionalGeneration.from_pretrained(STARTER).eval())
    core = JanusCore(JanusForConditionalGeneration.from_pretrained(STARTER).eval(), int8=True)
    config = core.network.config
    tokens, codes = config.vision_config.num_image_tokens, config.vq_config.num_embeddings
    shares, whole = [], 0
    for prompt in STARTER_PROMPTS:
        expected = list(draw_codes(full, seat_for(prompt, tokens, codes, 1.0)))
        shares.append(agreement(core, prompt, expected, codes, 1.0))
        whole += list(draw_codes(core, seat_for(prompt, tokens, codes, 1.0))) == expected
    return [
        Row("starter, int8 weights: best code as in float32", 100 * statistics.mean(shares), unit="%"),
        Row("starter, int8 weights: pictures the same", whole, unit="", remark=f"of {len(STARTER_PROMPTS)}, greedy"),
    ]


def agreement(core: JanusCore, prompt: list[int], codes: list[int], known: int, guidance: float) -> float:
    """How often the best code is the given one, each time after the given ones."""
    seat, right = seat_for(prompt, len(codes), known, guidance), 0
    for code in codes:
        [logits] = draw_together(core, [seat])
        right += take(seat, logits) == code
        seat.codes[-1] = code
    return right / len(codes)


def ratio(seconds: dict[str, float]) -> float:
    """Of the library's to ours."""
    return seconds["library"] / seconds["ours"]


def told(same: bool) -> str:
    """For a remark."""
    return "identical codes" if same else "THE CODES DIFFER"


def rows() -> list[Row]:
    """Figures and bars."""
    return starter() + (starter_in_int8() if works_in_int8() else []) + large()
