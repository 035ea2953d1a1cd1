"""The engine of GLM-Image on a tiny real GlmImagePipeline: drawing, editing, stopping, letting go."""

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import GlmImagePipeline

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.diffusion_preview import Previewer
from generation.engines.errors import CanceledError, CheckpointError, InvalidNumbersError, InvalidParamsError
from generation.engines.fragments import Fragment, Kind, Note, Step
from generation.engines.glm_image import GlmImageEngine
from generation.engines.glm_image_refining import LONGEST_QUOTE, decoder_of
from generation.engines.inspection import inspect_checkpoint
from generation.engines.multimodal import MultimodalEngine
from generation.engines.params import ABLE_TO, CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from generation.engines.precision import RUNGS
from generation.engines.source import open_source
from tests.generation.engines.drawing import PROMPT, change, draw, finals, loaded, lose, png, poison, same

EDGE = 64
STEPS = 4  # in the folder's tessera.json
DRAFT = 16 * 16
PICTURE = png(np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8))
EDIT = {"capability": "edit", "source": PICTURE, "prompt": "make it blue"}


@pytest.fixture(scope="module")
def engine(glm_image_folder: Path) -> Engine:
    return loaded(glm_image_folder, "multimodal")


@pytest.fixture
def folder(glm_image_folder: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be broken."""
    return shutil.copytree(glm_image_folder, tmp_path / "mine")


def inner(engine: Engine) -> GlmImageEngine:
    assert isinstance(engine, MultimodalEngine) and isinstance(engine._inner, GlmImageEngine)
    return engine._inner


def the_final(engine: Engine, **wish: Any) -> Fragment:
    [final] = finals(draw(engine, EDGE, **wish))
    return final


def test_the_folder_is_a_multimodal_checkpoint_that_draws_and_edits(glm_image_folder: Path) -> None:
    facts = inspect_checkpoint(glm_image_folder)
    assert (facts.family, facts.class_name) == ("multimodal", "GlmImagePipeline")
    assert facts.capabilities == ("text_to_image", "edit")
    assert facts.sizes == ((64, 64), (96, 64))
    assert facts.defaults == {"steps": STEPS, "guidance": 1.5, "temperature": 0.9}
    assert set(facts.networks) == {"text_encoder", "transformer", "vae", "vision_language_encoder"}


def test_without_own_sizes_it_draws_a_megapixel_in_several_shapes(folder: Path) -> None:
    (folder / "tessera.json").unlink()
    facts = inspect_checkpoint(folder)
    assert facts.sizes[0] == (1024, 1024) and facts.defaults["steps"] == 30
    assert all(edge % 32 == 0 for size in facts.sizes for edge in size)
    assert {(height, width) for width, height in facts.sizes} == set(facts.sizes)


def test_codes_then_rounds_are_one_progress(engine: Engine) -> None:
    params = GenerationParams(PROMPT, EDGE, EDGE, 7)
    items = list(engine.generate(params, CancelToken()))
    steps = [item.step for item in items if isinstance(item, Step)]
    codes = DRAFT + 4
    assert steps == [*range(1, codes + 1), *(codes + 65 * done for done in range(1, STEPS + 1))]
    [total] = {item.steps for item in items if isinstance(item, (Step, Fragment))}
    assert items[-1].kind is Kind.FINAL and items[-1].step == total == steps[-1]


def test_the_draft_then_the_rows_then_the_rounds_are_shown(engine: Engine) -> None:
    *previews, final = draw(engine, EDGE)
    assert [preview.sequence for preview in previews] == list(range(len(previews)))
    assert [(preview.step, *preview.pixels.shape[:2]) for preview in previews[:3]] == [
        (DRAFT, 16, 16),
        (DRAFT + 2, 2, 2),
        (DRAFT + 4, 2, 2),
    ]
    assert [preview.pixels.shape for preview in previews[3:]] == [(8, 8, 3)] * STEPS
    assert final.pixels.shape == (EDGE, EDGE, 3)


def test_an_edit_is_shown_over_the_picture_it_begins_with(engine: Engine) -> None:
    first, second, *_ = draw(engine, EDGE, **EDIT)
    begun = np.asarray(open_source(PICTURE, EDGE, EDGE).resize((2, 2), 4))
    assert first.step == 2 and np.array_equal(first.pixels[1], begun[1])
    assert not np.array_equal(first.pixels[0], begun[0])
    assert np.array_equal(first.pixels[0], second.pixels[0]) and not np.array_equal(second.pixels[1], begun[1])


def test_the_final_is_what_the_pipeline_makes_of_the_same_codes(engine: Engine, glm_image_folder: Path) -> None:
    for wish in ({}, EDIT):
        seen: dict[str, Any] = {}
        pipeline = inner(engine)._pipeline
        hook = pipeline.transformer.register_forward_pre_hook(
            lambda _, __, named, seen=seen: seen.update(named), with_kwargs=True
        )
        final = the_final(engine, **wish)
        hook.remove()
        bare = GlmImagePipeline.from_pretrained(glm_image_folder)
        bare.set_progress_bar_config(disable=True)
        given: dict[str, Any] = {}
        if wish:
            grid = torch.tensor([[1, 2, 2]])
            picture = open_source(PICTURE, EDGE, EDGE)
            read = bare.processor.image_processor(images=[picture], return_tensors="pt")
            network = bare.vision_language_encoder
            features = network.get_image_features(read["pixel_values"], grid, return_dict=True).pooler_output
            codes = network.get_image_tokens(features)
            given = {
                "image": [picture],
                "prior_token_image_ids": [bare._upsample_token_ids(codes, 2, 2)[0]],
                "source_image_grid_thw": [grid * torch.tensor([1, 2, 2])],
            }
        drawn = bare(
            wish.get("prompt", PROMPT),
            width=EDGE,
            height=EDGE,
            num_inference_steps=STEPS,
            guidance_scale=1.5,
            prior_token_ids=seen["prior_token_id"],
            generator=torch.Generator().manual_seed(7),
            output_type="np",
            **given,
        )
        assert np.array_equal((drawn.images[0] * 255).round().astype(np.uint8), final.pixels)


def test_a_seed_is_a_picture_and_nobody_elses_chance_is_touched(engine: Engine) -> None:
    before = torch.get_rng_state()
    first = the_final(engine)
    torch.manual_seed(99)
    again = the_final(engine)
    assert same(first, again)
    torch.set_rng_state(before)
    assert not same(first, the_final(engine, seed=8))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_of_a_batch_can_be_drawn_again_alone(engine: Engine) -> None:
    batch = finals(draw(engine, EDGE, **EDIT, count=2))
    assert [(final.index, final.seed) for final in batch] == [(0, 7), (1, 8)]
    assert same(batch[1], the_final(engine, **EDIT, seed=8))
    assert not same(batch[0], batch[1])


def test_guidance_steps_temperature_and_the_picture_matter(engine: Engine) -> None:
    plain = the_final(engine, **EDIT)
    assert not same(plain, the_final(engine, **EDIT, guidance=4))
    assert not same(plain, the_final(engine, **EDIT, steps=STEPS + 1))
    assert not same(plain, the_final(engine, **EDIT, temperature=5))
    other = png(np.full((EDGE, EDGE, 3), 200, np.uint8))
    assert not same(plain, the_final(engine, **{**EDIT, "source": other}))


def test_the_other_shape_is_drawn(engine: Engine) -> None:
    [final] = finals(draw(engine, EDGE, **EDIT, width=96))
    assert final.pixels.shape == (64, 96, 3)


def test_previews_know_the_scale_of_the_latents(engine: Engine) -> None:
    """The map is fitted to what the pipeline's own decoding makes of a latent."""
    pipeline = inner(engine)._pipeline
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    ours = (decoder_of(pipeline.vae)(latent)[0] * 255).clamp(0, 255)
    scaled = latent * torch.tensor([1.5, 1.2, 0.8, 1.0]).view(1, 4, 1, 1)
    scaled += torch.tensor([0.1, -0.1, 0.2, 0.0]).view(1, 4, 1, 1)
    theirs = pipeline.image_processor.postprocess(pipeline.vae.decode(scaled).sample.detach(), output_type="pt")[0]
    assert torch.allclose(ours, theirs * 255, atol=1e-3)
    assert Previewer(decoder_of(pipeline.vae)).pixels(latent).shape == (64, 64, 3)


@pytest.mark.parametrize(("part", "passes"), [("vision_language_encoder", 3), ("transformer", 3)])
def test_cancel_stops_in_both_parts(engine: Engine, part: str, passes: int) -> None:
    cancel, done = CancelToken(), []

    def count(*_: object) -> None:
        done.append(1)
        if len(done) == passes:
            cancel.cancel()

    hook = getattr(inner(engine)._pipeline, part).register_forward_hook(count)
    params = GenerationParams(EDIT["prompt"], EDGE, EDGE, 7, capability="edit", source=PICTURE, steps=20)
    try:
        with pytest.raises(CanceledError):
            list(engine.generate(params, cancel))
    finally:
        hook.remove()
    assert len(done) == passes
    assert the_final(engine, **EDIT).pixels.any()


def test_nobody_listening_ends_the_drawing(engine: Engine) -> None:
    passes: list[int] = []
    hook = inner(engine)._pipeline.transformer.register_forward_hook(lambda *_: passes.append(1))
    params = GenerationParams(EDIT["prompt"], EDGE, EDGE, 7, capability="edit", source=PICTURE, steps=150)
    drawing = engine.generate(params, CancelToken())
    next(item for item in drawing if isinstance(item, Step) and item.step > 4)
    drawing.close()
    hook.remove()
    assert 0 < len(passes) < 300


def test_what_it_cannot_do_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidParamsError, match="cannot draw 128x128; it can draw 64x64, 96x64"):
        draw(engine, 128)
    with pytest.raises(InvalidParamsError, match=f"cannot {ABLE_TO['describe']}"):
        draw(engine, EDGE, capability="describe", source=PICTURE)
    with pytest.raises(InvalidParamsError, match="only half of a picture"):
        draw(engine, EDGE, codes=(1, 2, 3))
    with pytest.raises(InvalidParamsError, match="prompt is too long"):
        draw(engine, EDGE, prompt="a " * 2000)


def test_a_quoted_text_that_is_cut_is_told(engine: Engine) -> None:
    for length, told in ((LONGEST_QUOTE - 1, False), (LONGEST_QUOTE, True)):
        prompt = f'a cat "{"x" * length}"'
        params = GenerationParams(prompt, EDGE, EDGE, 7, steps=1, capability="edit", source=PICTURE)
        first = next(iter(engine.generate(params, CancelToken())))
        assert (isinstance(first, Note) and first.kind == "prompt.truncated") is told


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("vision_language_encoder/model", "lm_head.weight"),
        ("transformer/diffusion_pytorch_model", "proj_out.weight"),
        ("vae/diffusion_pytorch_model", "decoder.conv_in.weight"),
    ],
)
def test_weights_that_are_missing_or_no_numbers(folder: Path, part: str, name: str) -> None:
    weights = folder / f"{part}.safetensors"
    poison(weights, name)
    with pytest.raises(InvalidNumbersError) as failure:
        draw(loaded(folder, "multimodal"), EDGE, **EDIT)
    assert failure.value.part == ("decoder" if part.startswith("vae") else "network")
    lose(weights, name)
    with pytest.raises(CheckpointError, match=rf"{part.split('/')[0]} lack 1 tensors, {name}"):
        loaded(folder, "multimodal")


def other_class(folder: Path) -> None:
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])


def no_processor(folder: Path) -> None:
    change(folder / "model_index.json", processor=[None, None])


def one_part_more(folder: Path) -> None:
    shutil.copytree(folder / "vae", folder / "vae_2")
    change(folder / "model_index.json", vae_2=["diffusers", "AutoencoderKL"])


def own(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "tessera.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_class, "part vae of mine is AutoencoderTiny, not a AutoencoderKL"),
        (no_processor, "part processor of mine is None, not a GlmImageProcessor"),
        (one_part_more, "has a part vae_2"),
        (own('{"sizes": [[48, 64]]}'), "lists 48x64; the edges of GLM-Image are multiples of 32"),
        (own('{"sizes": [[64, 320]]}'), "one at most 4 times the other"),
        (own('{"capabilities": ["describe"]}'), "lists capabilities"),
        (lambda folder: (folder / "vae/diffusion_pytorch_model.safetensors").unlink(), "vae has no weights"),
    ],
)
def test_folders_that_are_refused(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=words):
        inspect_checkpoint(folder)


def test_a_template_without_a_place_for_the_picture_is_found_at_loading(folder: Path) -> None:
    (folder / "processor/chat_template.jinja").write_text("{{ messages[0].content[-1].text }}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="could not be loaded: The total number of"):
        loaded(folder, "multimodal")


def test_parts_that_are_not_made_for_each_other_are_found_at_loading(folder: Path) -> None:
    change(folder / "vae/config.json", latents_mean=None)
    with pytest.raises(CheckpointError, match="how its latents are scaled"):
        loaded(folder, "multimodal")


@pytest.mark.parametrize("precision", ["bf16", "bf16-decoder-fp32", "fp16-attention-fp32"])
def test_it_draws_in_narrower_numbers_and_mixed_ones(glm_image_folder: Path, precision: str) -> None:
    engine = MultimodalEngine(CheckpointSpec("tiny", str(glm_image_folder), "multimodal"))
    engine.load(Device("cpu"), Plan(precision))
    pipeline = inner(engine)._pipeline
    assert pipeline.transformer.dtype is RUNGS[precision].network is pipeline.vision_language_encoder.dtype
    assert pipeline.vae.dtype is RUNGS[precision].decoder
    final = the_final(engine, **EDIT)
    assert final.pixels.std() > 1


def test_every_rung_of_memory_draws(glm_image_folder: Path) -> None:
    """Loaded at the most sparing one, then back up and down again without reading the weights anew."""
    engine = MultimodalEngine(CheckpointSpec("tiny", str(glm_image_folder), "multimodal"))
    engine.load(Device("cpu"), Plan(memory="sequential"))
    assert engine.rungs == ("whole", "sliced", "tiled", "components", "sequential")
    drawn = {"at first": the_final(engine, **EDIT)}
    told = inner(engine)._colours.told
    for rung in engine.rungs:
        assert engine.adapt(Plan(memory=rung)) and engine.weights is not None
        engine.weights.wake()
        drawn[rung] = the_final(engine, **EDIT)
    difference = drawn["whole"].pixels.astype(int) - drawn["sliced"].pixels
    assert np.abs(difference).max() <= 1, "pieces may be added up in another order"
    for rung in ("at first", "components", "sequential"):  # tiles are blended, which is all that they change
        assert same(drawn[rung], drawn["tiled"])
    assert told == pytest.approx(inner(loaded(glm_image_folder, "multimodal"))._colours.told)


def test_nothing_is_left_after_unload(glm_image_folder: Path) -> None:
    engine = loaded(glm_image_folder, "multimodal")
    the_final(engine, **EDIT)
    pipeline = inner(engine)._pipeline
    assert engine.size_bytes() >= inspect_checkpoint(glm_image_folder).size_bytes
    networks = [weakref.ref(part) for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    del pipeline
    engine.unload()
    engine.unload()
    Device("cpu").purge()
    assert len(networks) == 4 and all(network() is None for network in networks)
    assert engine.size_bytes() == 0
    with pytest.raises(CheckpointError, match="not loaded"):
        draw(engine, EDGE)
