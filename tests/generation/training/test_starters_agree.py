"""The two starters, which share no weights, show the same things: each picture of one is nearest to its twin."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, JanusForConditionalGeneration

import generation
from generation.engines.mosaic import Mosaic
from generation.training.diffusion import look
from generation.training.multimodal.batches import prompt_tokens
from generation.training.multimodal.drawing import draw

STARTERS = Path(generation.__file__).parent / "starter"
ONE = ["cat on blue", "pizza on blue", "rocket on blue", "owl on blue", "house on blue", "sunflower on blue"]
TWO = ["cat left of pizza on blue", "pizza left of cat on blue", "cat above pizza on blue", "pizza above cat on blue"]


def by_tokens(prompts: list[str]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """[prompts, height, width, 3], the likeliest code each time."""
    folder = STARTERS / "multimodal"
    model = JanusForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer, mosaic = AutoTokenizer.from_pretrained(folder, local_files_only=True), Mosaic.load(folder)
    codes = draw(model, mosaic, [prompt_tokens(tokenizer, prompt) for prompt in prompts])
    return np.stack([mosaic.decode(row) for row in codes.tolist()]).astype(np.float32)


@pytest.mark.parametrize("prompts", [ONE, TWO], ids=["one object", "two objects"])
def test_each_picture_is_nearest_to_its_twin(prompts: list[str]) -> None:
    torch.set_num_threads(1)
    truths = by_tokens(prompts)
    drawn = np.stack([np.asarray(picture) for picture in look.paint(look.load(STARTERS / "diffusion"), prompts)])
    errors = ((drawn[:, None].astype(np.float32) - truths[None]) ** 2).mean(axis=(2, 3, 4))
    assert [prompts[place] for place in errors.argmin(axis=1)] == prompts
