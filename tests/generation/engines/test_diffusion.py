"""The diffusion engine on a tiny real StableDiffusionPipeline."""

import io
import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device, works
from generation.engines.errors import CanceledError, CheckpointError, InvalidNumbersError, InvalidParamsError
from generation.engines.factory import create_engine
from generation.engines.fragments import Fragment, Kind, Note, Step
from generation.engines.params import ABLE_TO, CheckpointSpec, GenerationParams
from tests.generation.engines import tiny
from tests.generation.engines.drawing import PROMPT, draw, finals, loaded, lose, poison, same

ROOT = Path(__file__).resolve().parents[3]
EDGE = 32
STEPS = 6


@pytest.fixture(scope="module")
def engine(diffusion_folder: Path) -> Engine:
    return loaded(diffusion_folder, "diffusion")


@pytest.fixture(scope="module")
def source() -> bytes:
    pixels = np.random.default_rng(4).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def sketch(engine: Engine, **wish: object) -> Fragment:
    [final] = finals(draw(engine, EDGE, **{"steps": STEPS, **wish}))
    return final


def test_previews_sharpen_into_the_final(engine: Engine) -> None:
    *previews, final = draw(engine, EDGE, steps=STEPS)
    assert len(previews) == STEPS
    assert {preview.kind for preview in previews} == {Kind.PREVIEW}
    assert [(preview.sequence, preview.step, preview.steps) for preview in previews] == [
        (number, number + 1, STEPS) for number in range(STEPS)
    ]
    assert final.kind is Kind.FINAL and final.pixels.shape == previews[0].pixels.shape == (EDGE, EDGE, 3)
    distances = [np.abs(preview.pixels.astype(int) - final.pixels).mean() for preview in previews]
    assert distances[-1] < 1 < distances[0]


def test_many_steps_give_some_previews_and_the_last(engine: Engine) -> None:
    *previews, final = draw(engine, EDGE, steps=40)
    assert len(previews) == 16
    assert previews[-1].step == final.step == 40


def test_a_seed_is_a_picture(engine: Engine) -> None:
    assert same(sketch(engine), sketch(engine))
    assert not same(sketch(engine), sketch(engine, seed=8))


def test_a_picture_of_a_batch_can_be_drawn_again_alone(engine: Engine) -> None:
    batch = finals(draw(engine, EDGE, steps=STEPS, count=2))
    assert [(final.index, final.seed) for final in batch] == [(0, 7), (1, 8)]
    assert same(batch[1], sketch(engine, seed=8))


def test_guidance_and_the_negative_prompt_matter_and_guidance_can_be_off(engine: Engine) -> None:
    off, strong = sketch(engine, guidance=0), sketch(engine, guidance=9)
    assert not same(off, strong)
    assert not same(strong, sketch(engine, guidance=9, negative_prompt="dog"))


def test_image_to_image_starts_from_the_picture(engine: Engine, source: bytes) -> None:
    wish = {"capability": "image_to_image", "source": source}
    little, much = sketch(engine, **wish, strength=0.34), sketch(engine, **wish, strength=1)
    assert same(little, sketch(engine, **wish, strength=0.34))
    assert not same(little, much)
    assert (little.steps, much.steps) == (2, STEPS)
    assert sketch(engine, **wish, strength=0.01).steps == 1


def test_what_is_no_picture_is_refused(engine: Engine, source: bytes) -> None:
    for broken in (b"<svg/>", source[:200]):
        with pytest.raises(InvalidParamsError, match="cannot be read"):
            sketch(engine, capability="image_to_image", source=broken)


def test_a_size_it_cannot_draw_is_refused_with_those_it_can(engine: Engine) -> None:
    with pytest.raises(InvalidParamsError, match="32x32"):
        draw(engine, 64)


def test_a_capability_it_has_not_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidParamsError, match=f"cannot {ABLE_TO['describe']}; it can {ABLE_TO['text_to_image']}"):
        sketch(engine, capability="describe", source=b"a picture")


def test_cancel_stops_before_the_next_step(engine: Engine) -> None:
    cancel, passes = CancelToken(), []

    def count(*_: object) -> None:
        passes.append(1)
        if len(passes) == 3:
            cancel.cancel()

    hook = engine._pipelines["text_to_image"].unet.register_forward_hook(count)
    try:
        with pytest.raises(CanceledError):
            list(engine.generate(GenerationParams(PROMPT, EDGE, EDGE, 7, steps=20), cancel))
    finally:
        hook.remove()
    assert len(passes) == 3
    assert sketch(engine).pixels.any()


def test_nobody_listening_ends_the_drawing(engine: Engine) -> None:
    passes: list[int] = []
    hook = engine._pipelines["text_to_image"].unet.register_forward_hook(lambda *_: passes.append(1))
    drawing = engine.generate(GenerationParams(PROMPT, EDGE, EDGE, 7, steps=150), CancelToken())
    assert isinstance(next(drawing), Step)
    drawing.close()
    hook.remove()
    assert len(passes) < 150


def test_a_long_prompt_is_cut_and_said_so(engine: Engine) -> None:
    params = GenerationParams("cat " * 50, EDGE, EDGE, 7, steps=1)
    note, *rest = engine.generate(params, CancelToken())
    assert isinstance(note, Note) and note.kind == "prompt.truncated"
    assert rest[-1].kind is Kind.FINAL


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_every_kind_of_prediction_ends_where_its_previews_do(prediction: str, tmp_path: Path) -> None:
    engine = loaded(tiny.save_diffusion(tmp_path / prediction, prediction=prediction), "diffusion")
    *previews, final = draw(engine, EDGE, steps=4)
    assert len(previews) == 4
    assert np.abs(previews[-1].pixels.astype(int) - final.pixels).mean() < 1


def test_a_tiny_decoder_shows_large_pictures_smaller(diffusion_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(diffusion_folder, tmp_path / "wide")
    (folder / "tessera.json").write_text('{"sizes": [[256, 160]]}', encoding="utf-8")
    *previews, final = draw(loaded(folder, "diffusion"), 0, width=256, height=160, steps=2)
    assert [preview.pixels.shape for preview in previews] == [(100, 160, 3)] * 2
    assert final.pixels.shape == (160, 256, 3)
    shown = np.asarray(Image.fromarray(final.pixels).resize((160, 100), Image.Resampling.BOX), dtype=int)
    mirrored = np.abs(previews[-1].pixels[:, ::-1] - shown).mean()
    assert np.abs(previews[-1].pixels - shown).mean() < mirrored


def test_a_large_decoder_gets_linear_previews(tmp_path: Path) -> None:
    folder = tiny.save_diffusion(tmp_path / "large", large_decoder=True)
    engine = loaded(folder, "diffusion")
    *previews, final = draw(engine, EDGE, steps=4)
    assert [preview.pixels.shape for preview in previews] == [(8, 8, 3)] * 4
    assert final.pixels.shape == (EDGE, EDGE, 3)
    (folder / "preview.json").write_text(json.dumps({"matrix": [[1, 0, 0]] * 3, "bias": [0, 0, 0]}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"large/preview\.json is no map from 4 latent channels"):
        loaded(folder, "diffusion")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler, numpy 2
@pytest.mark.parametrize("save", [tiny.save_xl, tiny.save_flow])
def test_the_other_pipelines_draw_from_words_and_from_a_picture(
    save: Callable[[Path], Path], source: bytes, tmp_path: Path
) -> None:
    engine = loaded(save(tmp_path / "other"), "diffusion")
    *previews, final = draw(engine, EDGE, steps=4)
    assert len(previews) == 4 and final.pixels.shape == (EDGE, EDGE, 3)
    wish = {"capability": "image_to_image", "source": source, "steps": 4}
    near, far = (sketch(engine, strength=strength, **wish) for strength in (0.25, 1))
    assert not same(near, final)
    assert not same(near, far)
    again = sketch(engine, steps=4)
    assert same(again, final), "drawing from a picture leaves nothing behind"


def test_a_folder_with_only_half_precision_files_draws(diffusion_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(diffusion_folder, tmp_path / "half")
    for weights in list(folder.rglob("*.safetensors")):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert same(sketch(loaded(folder, "diffusion")), sketch(loaded(diffusion_folder, "diffusion")))


@pytest.mark.parametrize(
    ("part", "file", "name"),
    [
        ("text_encoder", "model", "encoder.layers.0.mlp.fc1.weight"),
        ("unet", "diffusion_pytorch_model", "conv_in.weight"),
        ("vae", "diffusion_pytorch_model", "decoder.layers.0.weight"),
    ],
)
def test_weights_that_are_missing_are_an_error(
    part: str, file: str, name: str, diffusion_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(diffusion_folder, tmp_path / "thin")
    lose(folder / part / f"{file}.safetensors", name)
    with pytest.raises(CheckpointError, match=f"The weights of {part} lack 1 tensors, .* among them"):
        loaded(folder, "diffusion")


def test_a_device_that_fails_says_nothing_about_the_checkpoint(diffusion_folder: Path) -> None:
    device = Device("cpu")
    device.torch = torch.device("xpu")
    if works("xpu"):  # type: ignore[arg-type]
        pytest.skip("this one works here")
    engine = create_engine(CheckpointSpec("tiny", str(diffusion_folder), "diffusion"))
    with pytest.raises(AssertionError, match="XPU"):
        engine.load(device)


def test_a_machine_without_descriptors_says_nothing_about_the_checkpoint(diffusion_folder: Path) -> None:
    """In a process of its own: the limit is everybody's."""
    code = (
        "import resource, sys\n"
        "from generation.engines import diffusion, device, errors, params\n"
        "engine = diffusion.DiffusionEngine(params.CheckpointSpec('tiny', sys.argv[1], 'diffusion'))\n"
        "facts = diffusion.inspect_checkpoint(sys.argv[1])\n"
        "if sys.argv[2] == 'libraries': diffusion.inspect_checkpoint = lambda folder: facts\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: engine.load(device.Device('cpu'))\n"
        "except errors.FilesUnavailableError as error: print(error.message)\n"
    )
    for step in ("inspection", "libraries"):
        line = [sys.executable, "-c", code, str(diffusion_folder), step]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
        assert "could not be read just now: Too many open files" in done.stdout, done.stderr


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_weights_that_are_no_numbers_are_an_error(part: str, diffusion_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(diffusion_folder, tmp_path / "poisoned")
    name = {"unet": "conv_out.weight", "vae": "decoder.layers.0.weight"}[part]
    poison(folder / part / "diffusion_pytorch_model.safetensors", name)
    with pytest.raises(InvalidNumbersError):
        sketch(loaded(folder, "diffusion"))


def test_a_folder_that_broke_is_a_clear_error(diffusion_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(diffusion_folder, tmp_path / "broken")
    (folder / "unet" / "config.json").write_text('{"sample_size": 8, "_class_name": "Nothing"}', encoding="utf-8")
    with pytest.raises(CheckpointError):
        loaded(folder, "diffusion")


def test_nothing_is_left_after_unload(diffusion_folder: Path, source: bytes) -> None:
    engine = loaded(diffusion_folder, "diffusion")
    sketch(engine)
    sketch(engine, capability="image_to_image", source=source)
    unet = weakref.ref(engine._pipelines["text_to_image"].unet)
    assert engine.size_bytes() > 0
    engine.unload()
    engine.unload()
    engine._device.purge()
    assert unet() is None
    assert engine.size_bytes() == 0
    with pytest.raises(CheckpointError, match="not loaded"):
        sketch(engine)
