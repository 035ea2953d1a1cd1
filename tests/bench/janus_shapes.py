"""Networks of real sizes with random weights, to measure how fast they draw. What they draw is noise."""

import time

import numpy as np
import torch
from transformers import GenerationConfig, JanusConfig, JanusForConditionalGeneration

from generation.engines.base import CancelToken
from generation.engines.decoder import DecoderParts, JanusDecoder, Patch
from generation.engines.fragments import Ended, Pixels
from generation.engines.janus_batch import Batch, Picture
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Sampling, Seat

BEGIN, END, PAD, BEGIN_IMAGE = 1, 2, 0, 4
GUIDANCE = 5.0  # Janus' own
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


class TimedDecoder(JanusDecoder):
    """Knows how long its fragments and its final took."""

    def __init__(self, network: JanusForConditionalGeneration) -> None:
        parts = DecoderParts.of(network.model.vqmodel)
        super().__init__(parts, draft=parts.draft())
        self.fragments: list[Patch] = []
        self.spent, self.first, self.began = 0.0, 0.0, time.perf_counter()
        self.whole: Pixels | None = None

    def feed(self, code: int) -> Patch | None:
        """Timed."""
        began = time.perf_counter()
        patch = super().feed(code)
        if patch is not None:
            self.fragments.append(patch)
            self.first = self.first or time.perf_counter() - self.began
            self.spent += time.perf_counter() - began
        return patch

    def final(self) -> Pixels:
        """Kept."""
        self.whole = super().final()
        return self.whole

    def error(self) -> float:
        """Of the fragments against the final, in steps of 255."""
        assert self.whole is not None
        drawn = np.concatenate([patch.pixels for patch in self.fragments]).astype(int)
        return float(np.abs(drawn - self.whole).mean())


def draw_all(core: JanusCore, seats: list[Seat], decoders: list[TimedDecoder]) -> float:
    """Seconds until every picture is drawn, fragments and finals included, as the engine does it."""
    began = time.perf_counter()
    batch = Batch(core)
    for number, (seat, decoder) in enumerate(zip(seats, decoders, strict=True)):
        decoder.began = began
        batch.pictures.append(Picture(number, 0, number, seat, decoder, CancelToken()))
    while batch.pictures:
        for _, item in batch.step():
            if isinstance(item, Ended) and item.error is not None:
                raise item.error
    return time.perf_counter() - began
