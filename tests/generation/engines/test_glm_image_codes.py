"""The codes of GLM-Image: greedy ones are the library's, the others are drawn by a seed; shown as colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import GlmImagePipeline
from PIL import Image
from transformers import GenerationConfig
from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

from generation.engines.glm_image_colours import LEAST_TOLD, CodeColours
from generation.engines.glm_image_loop import LIBRARY_TOP_K, Sampling, choose, draw_codes, look
from generation.engines.glm_image_prompt import GlmImagePrompts
from generation.engines.glm_image_refining import finer
from tests.generation.engines.drawing import PROMPT, draw, finals, loaded
from tests.generation.engines.tiny_glm_image import CODES

GREEDY = Sampling(0, 0, 1)
ORDER = "make it blue"


@pytest.fixture(scope="module")
def pipeline(glm_image_folder: Path) -> Any:
    return GlmImagePipeline.from_pretrained(glm_image_folder)


@pytest.fixture(scope="module")
def prompts(pipeline: Any) -> GlmImagePrompts:
    return GlmImagePrompts(pipeline.processor, 2048)


@pytest.fixture(scope="module")
def colours(pipeline: Any) -> CodeColours:
    return CodeColours.measure(pipeline.vision_language_encoder, pipeline.processor.image_processor)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def test_greedy_codes_are_those_of_the_pipeline(
    pipeline: Any, prompts: GlmImagePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = pipeline.vision_language_encoder
    monkeypatch.setattr(network.generation_config, "top_k", 1)  # which makes its sampling greedy
    expected, _, _ = pipeline.generate_prior_tokens(PROMPT, height=64, width=96)
    asked = prompts.write(PROMPT, 96, 64)
    assert asked.draft is not None and (asked.whole, asked.codes) == ((2, 3), asked.draft[0] * asked.draft[1] + 6)
    codes = list(draw_codes(network, asked, None, GREEDY, torch.Generator()))
    assert torch.equal(finer(torch.tensor(codes[asked.lead :]), asked.whole), expected[0])
    assert len(set(codes)) > 3, "else any network would do"


def test_greedy_codes_of_an_edit_are_those_of_the_library(
    pipeline: Any, prompts: GlmImagePrompts, picture: Image.Image
) -> None:
    network = pipeline.vision_language_encoder
    messages = [[{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": ORDER}]}]]
    read = pipeline.processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", target_h=64, target_w=96
    )
    greedy = GenerationConfig(do_sample=False, max_new_tokens=6, pad_token_id=CODES + 11)
    expected = network.generate(**read, generation_config=greedy)[0, read["input_ids"].shape[1] :]
    asked = prompts.write(ORDER, 96, 64, picture)
    assert list(draw_codes(network, asked, look(network, asked), GREEDY, torch.Generator())) == expected.tolist()
    other = prompts.write(ORDER, 96, 64, Image.new("RGB", (96, 64), "red"))
    assert not torch.equal(look(network, other), look(network, asked)), "it looks at the picture"


def test_only_codes_are_drawn_and_by_the_seed_alone(pipeline: Any, prompts: GlmImagePrompts) -> None:
    network, asked = pipeline.vision_language_encoder, prompts.write(ORDER, 64, 64, Image.new("RGB", (64, 64)))
    wild = Sampling(5.0, 0, 1.0)
    drawn = [
        list(draw_codes(network, asked, look(network, asked), wild, torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(0 <= code < CODES for codes in drawn for code in codes)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.75), (5, 1.0), (5, 0.6), (0, 0.01)])
def test_what_is_left_out_is_what_the_library_leaves_out(top_k: int, top_p: float) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(3)) * 2
    scores = (logits / 0.9).unsqueeze(0)
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    kept = set(torch.isfinite(TopPLogitsWarper(top_p)(None, scores)[0]).nonzero().flatten().tolist())
    generator = torch.Generator().manual_seed(1)
    drawn = {choose(logits, Sampling(0.9, top_k, top_p), generator) for _ in range(600)}
    assert drawn <= kept and len(drawn) > len(kept) // 2
    if len(kept) < 8:
        assert drawn == kept


def test_gaps_in_the_checkpoints_settings_are_filled_as_by_the_library() -> None:
    assert Sampling.of(GenerationConfig(top_p=0.75), 0.9) == Sampling(0.9, LIBRARY_TOP_K, 0.75)
    assert Sampling.of(GenerationConfig(top_k=7), 1.0) == Sampling(1.0, 7, 1.0)
    assert GenerationConfig._get_default_generation_params()["top_k"] == LIBRARY_TOP_K


def test_words_that_look_like_codes_or_pictures_are_left_out(prompts: GlmImagePrompts) -> None:
    plain = prompts.write("a cat on blue", 64, 64)
    sly = prompts.write("a <|image|>cat<|dit_token_96|> <|dit_token_5|>on<sop>2 <eop>blue", 64, 64)
    ids = sly.ids[0].tolist()
    assert ids[0] == plain.ids[0, 0] and ids.count(CODES) == 1 and ids[-1] == CODES
    assert not [token for token in ids[:-1] if token < CODES + 8]
    assert ids.count(CODES + 10) == 0
    assert (sly.whole, sly.draft) == (plain.whole, plain.draft)


def test_finer_places_are_those_of_the_pipeline(pipeline: Any) -> None:
    codes = torch.randperm(6)
    assert torch.equal(finer(codes, (2, 3)), pipeline._upsample_token_ids(codes, 2, 3)[0])


def test_the_colours_of_a_picture_come_back_from_its_codes(
    pipeline: Any, prompts: GlmImagePrompts, colours: CodeColours
) -> None:
    """A picture that the map was not fitted to, drawn of its own codes: much closer than one colour for all."""
    random = np.random.default_rng(8)
    cells = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    picture = cells.resize((256, 256), Image.Resampling.BICUBIC)
    asked = prompts.write(ORDER, 256, 256, picture)
    codes = look(pipeline.vision_language_encoder, asked)
    assert codes is not None and asked.seen == (8, 8)
    shown = colours.pixels(codes.tolist(), asked.seen).astype(float)
    true = np.asarray(picture.resize((8, 8), Image.Resampling.BOX)).astype(float)
    apart = ((shown - true) ** 2).mean() / ((true - true.mean((0, 1))) ** 2).mean()
    assert colours.told > LEAST_TOLD and apart < 1 - LEAST_TOLD


def test_codes_that_say_nothing_of_colours_are_not_shown(pipeline: Any, glm_image_folder: Path) -> None:
    """A blind one: whatever it sees, it says the same code."""
    engine = loaded(glm_image_folder, "multimodal")
    network = engine._inner._pipeline.vision_language_encoder  # type: ignore[attr-defined]
    with torch.no_grad():
        network.model.visual.patch_embed.proj.weight.zero_()
        network.model.visual.embeddings.position_embedding.weight.zero_()
    blind = CodeColours.measure(network, engine._inner._pipeline.processor.image_processor)  # type: ignore[attr-defined]
    assert blind.told < LEAST_TOLD and not blind.is_worth_showing
    engine._inner._colours = blind  # type: ignore[attr-defined]
    *previews, final = draw(engine, 64)
    assert [preview.pixels.shape[:2] for preview in previews] == [(8, 8)] * 4, "those of the second part alone"
    assert finals([final])
