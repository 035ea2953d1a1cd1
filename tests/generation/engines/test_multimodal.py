"""The multimodal engine on tiny real Janus checkpoints, stock and with a mosaic."""

import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, JanusForConditionalGeneration

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.errors import CanceledError, CheckpointError, InvalidNumbersError, InvalidParamsError
from generation.engines.fragments import Kind, Note
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Sampling, Seat, choose, draw_codes
from generation.engines.params import GenerationParams
from tests.generation.engines import tiny
from tests.generation.engines.drawing import PROMPT, change, draw, finals, janus_of, loaded, lose, poison, same

JANUS, MOSAIC = 16, 32  # edges in pixels


@pytest.fixture(scope="module")
def janus(janus_folder: Path) -> Engine:
    return loaded(janus_folder, "multimodal")


@pytest.fixture(scope="module")
def mosaic(mosaic_folder: Path) -> Engine:
    return loaded(mosaic_folder, "multimodal")


@pytest.mark.parametrize(("name", "size", "least"), [("janus", JANUS, 8), ("mosaic", MOSAIC, 16)])
def test_fragments_tile_the_canvas_from_top_left(
    name: str, size: int, least: int, request: pytest.FixtureRequest
) -> None:
    *fragments, final = draw(request.getfixturevalue(name), size)
    assert len(fragments) >= least
    assert {fragment.kind for fragment in fragments} == {Kind.FRAGMENT}
    assert final.kind is Kind.FINAL and final.pixels.shape == (size, size, 3)
    covered = np.zeros((size, size), dtype=int)
    for fragment in fragments:
        covered[fragment.y : fragment.y + fragment.height, fragment.x : fragment.x + fragment.width] += 1
    assert (covered == 1).all()
    places = [(fragment.y, fragment.x) for fragment in fragments]
    assert places == sorted(places)
    assert [fragment.sequence for fragment in fragments] == list(range(len(fragments)))
    steps = [fragment.step for fragment in fragments]
    assert steps == sorted(steps) and steps[-1] == fragments[-1].steps == final.step


def test_the_fragments_of_a_mosaic_are_the_final(mosaic: Engine) -> None:
    *fragments, final = draw(mosaic, MOSAIC)
    canvas = np.zeros_like(final.pixels)
    for fragment in fragments:
        canvas[fragment.y : fragment.y + fragment.height, fragment.x : fragment.x + fragment.width] = fragment.pixels
    assert np.array_equal(canvas, final.pixels)


def test_a_seed_is_a_picture(mosaic: Engine) -> None:
    [first], [again], [other] = (finals(draw(mosaic, MOSAIC, seed=seed)) for seed in (7, 7, 8))
    assert same(first, again)
    assert not same(first, other)


def test_a_picture_of_a_batch_can_be_drawn_again_alone(janus: Engine) -> None:
    batch = finals(draw(janus, JANUS, count=2))
    assert [(final.index, final.seed) for final in batch] == [(0, 7), (1, 8)]
    [alone] = finals(draw(janus, JANUS, seed=8))
    assert same(batch[1], alone)


def test_guidance_changes_the_picture_and_can_be_off(janus: Engine) -> None:
    [off], [one], [strong] = (finals(draw(janus, JANUS, guidance=guidance)) for guidance in (0, 1, 4))
    assert same(off, one)
    assert not same(off, strong)


def test_temperature_zero_needs_no_seed(mosaic: Engine) -> None:
    [first], [second] = (finals(draw(mosaic, MOSAIC, temperature=0, seed=seed)) for seed in (1, 2))
    assert same(first, second)


def test_greedy_codes_are_those_of_transformers(janus_folder: Path) -> None:
    network = JanusForConditionalGeneration.from_pretrained(janus_folder)
    words = AutoTokenizer.from_pretrained(janus_folder)(PROMPT).input_ids + [4]
    expected = network.generate(
        torch.tensor([words]),
        attention_mask=torch.ones(1, len(words), dtype=torch.long),
        generation_mode="image",
        do_sample=False,
        guidance_scale=3.0,
    )
    rows = torch.tensor([words, [1, *[0] * (len(words) - 2), 4]])
    seat = Seat(rows, Sampling(0, 3.0), torch.Generator(), 64, lambda position: slice(0, 128))
    assert list(draw_codes(JanusCore(network), seat)) == expected[0].tolist()


def test_codes_are_chosen_among_those_allowed() -> None:
    logits = torch.tensor([[9.0, 0.0, 1.0, 9.0]])
    drawn = {choose(logits, Sampling(1, 1), torch.Generator().manual_seed(s), slice(1, 3)) for s in range(20)}
    assert drawn == {1, 2}
    assert choose(logits, Sampling(0, 1), torch.Generator(), slice(1, 3)) == 2


def test_cancel_stops_before_the_next_code(mosaic: Engine) -> None:
    cancel, passes = CancelToken(), []

    def count(*_: object) -> None:
        passes.append(1)
        if len(passes) == 10:
            cancel.cancel()

    hook = janus_of(mosaic)._network.model.generation_head.activation_fn.register_forward_hook(count)
    try:
        with pytest.raises(CanceledError):
            list(mosaic.generate(GenerationParams(PROMPT, MOSAIC, MOSAIC, 7), cancel))
    finally:
        hook.remove()
    assert len(passes) == 10


def test_a_size_it_cannot_draw_is_refused_with_those_it_can(mosaic: Engine) -> None:
    with pytest.raises(InvalidParamsError, match="32x32"):
        draw(mosaic, 64)


def test_a_long_prompt_is_cut_and_said_so(mosaic: Engine) -> None:
    params = GenerationParams("cat " * 200, MOSAIC, MOSAIC, 7)
    note, *rest = mosaic.generate(params, CancelToken())
    assert isinstance(note, Note) and note.kind == "prompt.truncated"
    assert rest[-1].kind is Kind.FINAL


def test_weights_that_are_no_numbers_are_an_error(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "poisoned")
    poison(folder / "model.safetensors", "model.generation_head.vision_head.weight")
    with pytest.raises(InvalidNumbersError):
        draw(loaded(folder, "multimodal"), MOSAIC)


def test_a_folder_that_broke_is_a_clear_error(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "broken")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError):
        loaded(folder, "multimodal")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        loaded(folder, "multimodal")


def test_weights_that_are_missing_are_an_error(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "thin")
    lose(folder / "model.safetensors", "model.language_model.layers.1.mlp.up_proj.weight")
    with pytest.raises(CheckpointError, match=r"The weights of thin lack 1 tensors, .*up_proj\.weight among them"):
        loaded(folder, "multimodal")


def break_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% for %}", encoding="utf-8")


def raise_from_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no pictures here') }}", encoding="utf-8")


def add_a_foreign_token(folder: Path) -> None:
    change(folder / "generation_config.json", generation_kwargs={"boi_token_id": 4000})


def grow_the_mosaic(folder: Path) -> None:
    tiny.mosaic(tiles=40).save(folder)


def widen_the_mosaic(folder: Path) -> None:
    tiny.mosaic(grid=(10, 10)).save(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (break_template, "could not be loaded"),
        (raise_from_template, "no pictures here"),
        (add_a_foreign_token, "token 4000 that its network does not know"),
        (grow_the_mosaic, "mosaic of 44 codes for a network of 24"),
        (widen_the_mosaic, "need more than 89 positions"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_it_is_loaded(
    damage: Callable[[Path], None], reason: str, mosaic_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "unfit")
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        loaded(folder, "multimodal")


def test_a_decoder_of_another_size_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="draws 16x16, but its config says else"):
        loaded(tiny.save_janus(tmp_path, patch=4), "multimodal")


def test_the_wrong_family_is_refused(mosaic_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="multimodal"):
        loaded(mosaic_folder, "diffusion")


def test_nothing_is_left_after_unload(mosaic_folder: Path) -> None:
    engine = loaded(mosaic_folder, "multimodal")
    draw(engine, MOSAIC)
    device, network = Device("cpu"), weakref.ref(janus_of(engine)._network)
    assert engine.size_bytes() > 0
    engine.unload()
    engine.unload()
    device.purge()
    assert network() is None
    assert engine.size_bytes() == 0
    with pytest.raises(CheckpointError, match="not loaded"):
        draw(engine, MOSAIC)
