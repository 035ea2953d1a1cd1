"""Networks of real sizes with random weights, to measure how fast they draw. What they draw is noise."""

import torch
from transformers import GenerationConfig, JanusConfig, JanusForConditionalGeneration

from generation.engines.janus_loop import Sampling, Seat

BEGIN, END, PAD, BEGIN_IMAGE = 1, 2, 0, 4
GUIDANCE = 5.0  # Janus' own
LOUD = 0.3  # of the last weights, so that the best code is the best by far more than the last bits


def janus_1b() -> JanusForConditionalGeneration:
    """The sizes of Janus-Pro-1B, float32, random weights; of the vision tower, which drawing does not use, one layer."""
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
    network.generation_config = GenerationConfig(
        bos_token_id=BEGIN,
        pad_token_id=PAD,
        eos_token_id=END,
        do_sample=False,
        guidance_scale=GUIDANCE,
        generation_kwargs={"boi_token_id": BEGIN_IMAGE},
    )
    return network


def words(seed: int, count: int, below: int) -> list[int]:
    """A prompt: begin, words, begin of image."""
    drawn = torch.randint(7, below, (count,), generator=torch.Generator().manual_seed(seed))
    return [BEGIN, *drawn.tolist(), BEGIN_IMAGE]


def seat_for(prompt: list[int], tokens: int, codes: int, guidance: float = GUIDANCE) -> Seat:
    """A greedy picture of this prompt; the row without its words beside it."""
    rows = torch.tensor([prompt, [BEGIN, *[PAD] * (len(prompt) - 2), BEGIN_IMAGE]])
    return Seat(rows if guidance > 1 else rows[:1], Sampling(0, guidance), torch.Generator(), tokens, lambda _: slice(0, codes))
