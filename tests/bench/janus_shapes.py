"""Networks of real sizes with random weights, to measure how fast they draw. What they draw is noise."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers import GenerationConfig, JanusConfig, JanusForConditionalGeneration

from generation.engines.base import CancelToken
from generation.engines.decoder import DecoderParts, JanusDecoder, Patch
from generation.engines.fragments import Ended, Pixels
from generation.engines.janus_batch import Batch, Picture
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Sampling, Seat
from tests.bench.rival import Rival

BEGIN, END, PAD, BEGIN_IMAGE = 1, 2, 0, 4
GUIDANCE = 5.0  # Janus' own
ROW = 24  # codes
LOUD = 0.3  # of the last weights, so that the best code is the best by far more than the last bits


def janus_1b() -> JanusForConditionalGeneration:
    """The sizes of Janus-Pro-1B, float32, random weights; one layer of the vision tower, which drawing does not use."""
    config = JanusConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": 102400,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "max_position_embeddings": 16384,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        vision_config={
            "hidden_size": 1024,
            "num_hidden_layers": 1,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 16,
            "num_image_tokens": 576,
            "projection_dim": 2048,
        },
        vq_config={
            "base_channels": 128,
            "channel_multiplier": [1, 1, 2, 2, 4],
            "num_res_blocks": 2,
            "latent_channels": 256,
            "num_embeddings": 16384,
            "embed_dim": 8,
            "num_patches": 24,
            "projection_dim": 2048,
            "image_token_embed_dim": 2048,
        },
        image_token_id=6,
    )
    torch.manual_seed(1)
    network = JanusForConditionalGeneration(config).eval()
    with torch.no_grad():
        network.model.generation_head.vision_head.weight.normal_(std=LOUD)
        network.model.generation_embeddings.weight.normal_()
    network.model.vqmodel.decoder.to(memory_format=torch.channels_last)  # as the engine does when it loads one
    network.generation_config = GenerationConfig(
        bos_token_id=BEGIN,
        pad_token_id=PAD,
        eos_token_id=END,
        do_sample=False,
        guidance_scale=GUIDANCE,
        generation_kwargs={"boi_token_id": BEGIN_IMAGE},
    )
    return network


def words(seed: int, count: int = 24) -> list[int]:
    """A prompt of about a sentence: begin, words, begin of image."""
    drawn = torch.randint(7, 400, (count,), generator=torch.Generator().manual_seed(seed))
    return [BEGIN, *drawn.tolist(), BEGIN_IMAGE]


def seat_for(prompt: list[int], tokens: int, codes: int, guidance: float = GUIDANCE) -> Seat:
    """A greedy picture of this prompt; when guided, the row without its words is beside it."""
    rows = torch.tensor([prompt, [BEGIN, *[PAD] * (len(prompt) - 2), BEGIN_IMAGE]])
    if guidance <= 1:
        rows = rows[:1]
    return Seat(rows, Sampling(0, guidance), torch.Generator(), tokens, lambda _: slice(0, codes))


@dataclass
class Stopwatch:
    """Seconds, but for those in which it was held."""

    held: float = 0.0

    def __call__(self) -> float:
        """Of any beginning."""
        return time.perf_counter() - self.held

    def hold(self, work: Callable[[], None]) -> None:
        """While it is done."""
        began = time.perf_counter()
        work()
        self.held += time.perf_counter() - began


class TimedDecoder(JanusDecoder):
    """Knows how long its fragments and its final took."""

    def __init__(self, network: JanusForConditionalGeneration) -> None:
        parts = DecoderParts.of(network.model.vqmodel)
        super().__init__(parts, draft=parts.draft())
        self.fragments: list[Patch] = []
        self.clock = Stopwatch()
        self.spent, self.first, self.last, self.began = 0.0, 0.0, 0.0, self.clock()
        self.whole: Pixels | None = None

    def feed(self, code: int) -> Patch | None:
        """Timed."""
        began = self.clock()
        patch = super().feed(code)
        if patch is not None:
            self.fragments.append(patch)
            self.first = self.first or self.clock() - self.began
            self.spent += self.clock() - began
        return patch

    def final(self) -> Pixels:
        """Kept, and timed."""
        began = self.clock()
        self.whole = super().final()
        self.last = self.clock() - began
        return self.whole

    def error(self) -> float:
        """Of the fragments against the final, in steps of 255."""
        assert self.whole is not None
        drawn = np.concatenate([patch.pixels for patch in self.fragments]).astype(int)
        return float(np.abs(drawn - self.whole).mean())


def draw_all(core: JanusCore, seats: list[Seat], decoders: list[TimedDecoder], rival: Rival | None = None) -> float:
    """Seconds until every picture is drawn, fragments and finals included, as the engine does it.

    `rival`: works after each row of codes for as long as the row took.
    """
    clock = Stopwatch()
    began = clock()
    batch, row = Batch(core), began
    for number, (seat, decoder) in enumerate(zip(seats, decoders, strict=True)):
        decoder.clock, decoder.began = clock, began
        batch.pictures.append(Picture(number, 0, number, seat, decoder, CancelToken()))
    while batch.pictures:
        for _, item in batch.step():
            if isinstance(item, Ended) and item.error is not None:
                raise item.error
        if rival is not None and not len(seats[0].codes) % ROW:
            clock.hold(partial(rival.turn, clock() - row))
            row = clock()
    return clock() - began
