"""Our own loop over the part of GLM-Image that draws picture codes: seeded, cancelable, sampled in float32.

The library's `generate` takes no generator. It ends early when the network says so, and then
there is no picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, GlmImageForConditionalGeneration

from generation.engines.glm_image_prompt import Asked
from generation.engines.precision import require_finite

LIBRARY_TOP_K = 50  # what transformers takes where the checkpoint's files say nothing


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a code is chosen. Temperature 0 is greedy; top_k 0 and top_p 1 leave nothing out."""

    temperature: float
    top_k: int
    top_p: float

    @classmethod
    def of(cls, config: GenerationConfig, temperature: float) -> "Sampling":
        """As the checkpoint's generation_config.json says, and as transformers fills its gaps."""
        top_k = LIBRARY_TOP_K if config.top_k is None else int(config.top_k)
        return cls(temperature, top_k, 1.0 if config.top_p is None else float(config.top_p))


def look(network: GlmImageForConditionalGeneration, asked: Asked) -> torch.Tensor | None:
    """[places]: the codes of the picture to edit, if there is one.

    Not by the pipeline's own code, which hands the features over in a shape that this transformers refuses.
    """
    if asked.pixels is None:
        return None
    with torch.inference_mode():
        grids = asked.grids[:-1].to(network.device)
        pixels = asked.pixels.to(network.device, network.dtype)
        features: list[torch.Tensor] = network.get_image_features(pixels, grids, return_dict=True).pooler_output
        for feature in features:
            require_finite(feature, "features of the picture")
        codes: torch.Tensor = network.get_image_tokens(features)
        return codes


def draw_codes(
    network: GlmImageForConditionalGeneration,
    asked: Asked,
    seen: torch.Tensor | None,
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[int]:
    """Yield the codes, the draft's first, each as it is drawn; closing the iterator stops the work.

    The network itself keeps the places of the codes to come, so one picture at a time.
    """
    codes = network.config.vq_config.num_embeddings
    cache = DynamicCache(config=network.config.text_config)
    rows = asked.ids.to(network.device)
    if seen is not None:
        rows = rows.masked_scatter(rows == network.config.image_token_id, seen)
    grids = asked.grids.to(network.device)
    first: dict[str, Any] = {"image_grid_thw": grids, "images_per_sample": torch.tensor([len(grids)])}
    for _ in range(asked.codes):
        with torch.inference_mode():  # not around the yield: the caller's code is none of its business
            told = network(input_ids=rows, past_key_values=cache, use_cache=True, logits_to_keep=1, **first)
            code = choose(told.logits[0, -1, :codes], sampling, generator)
            rows = torch.full((1, 1), code, device=network.device)
        first = {}
        yield code


def choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One code from [codes] logits, on the CPU and in float32, so that a seed means the same everywhere."""
    scores = require_finite(logits.float().cpu(), "logits of the picture codes")
    if sampling.temperature == 0:
        return int(scores.argmax())
    scores, order = (scores / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        scores, order = scores[: sampling.top_k], order[: sampling.top_k]
    chances = scores.softmax(-1)
    before = chances.cumsum(-1) - chances  # the one that crosses the border stays in
    chances = chances * (before < sampling.top_p)
    return int(order[torch.multinomial(chances, 1, generator=generator)])
