"""The folder that ships: it loads offline with stock code and takes any text; and the tokenizer behind it."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image

from generation.training.diffusion import look, words
from generation.training.diffusion.export import STARTER
from generation.training.world import all_words


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    torch.set_num_threads(1)
    return look.load(STARTER)


def dice() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_starter_is_small_and_holds_no_code() -> None:
    files = [file for file in STARTER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 15_000_000
    assert {file.suffix for file in files} <= {".json", ".safetensors", ".md", ".png"}


@pytest.mark.parametrize("text", ["", "🐈🍕", "кот", "x" * 4000, "cat " * 1000, "\x00\n\t"])
def test_any_text_gives_a_picture(pipe: StableDiffusionPipeline, text: str) -> None:
    assert look.paint(pipe, [text], num_inference_steps=1)[0].size == (128, 128)


def test_the_same_seed_draws_the_same_bytes(pipe: StableDiffusionPipeline) -> None:
    one, two = (look.paint(pipe, ["cat on blue"], seed=5, num_inference_steps=2)[0].tobytes() for _ in range(2))
    assert one == two


def test_stock_image_to_image_and_inpaint_take_its_parts(pipe: StableDiffusionPipeline) -> None:
    picture, few = Image.new("RGB", (128, 128), "blue"), {"num_inference_steps": 2, "generator": dice()}
    changed = StableDiffusionImg2ImgPipeline.from_pipe(pipe)("a cat", image=picture, strength=1.0, **few)
    filled = StableDiffusionInpaintPipeline.from_pipe(pipe)(
        "a cat", image=picture, mask_image=Image.new("L", (128, 128), 255), width=128, height=128, **few
    )
    assert changed.images[0].size == filled.images[0].size == (128, 128)


def test_the_words_of_the_world_are_one_token_each(tmp_path: Path) -> None:
    tokenizer = words.tokenizer(tmp_path)
    known = {word for text in all_words() for word in text.split() if word.isalpha()}
    assert [word for word in known if len(tokenizer.tokenize(word)) != 1] == []
    assert len(tokenizer.tokenize("kitty left of the pizza on turquoise")) == 7
    assert tokenizer.get_vocab() == words.build().get_vocab()
    assert len(tokenizer) <= words.LARGEST
