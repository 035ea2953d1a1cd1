"""Single files in the original layouts: read without settings beside them, drawn as the folder of the same weights."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.engines.base import Engine
from generation.engines.footprint import predict
from generation.engines.fragments import Fragment
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import Lora
from generation.engines.plan import MemoryRung, Plan
from tests.generation.engines.drawing import change, draw, finals, loaded, same
from tests.generation.engines.test_families import wish
from tests.generation.engines.tiny_lora import save_lora
from tests.generation.engines.tiny_single import KINDS, Pair

pytestmark = [  # the library's own
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module", params=sorted(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS[request.param].save(tmp_path_factory.mktemp(request.param))


def aligned(place: Path) -> Engine:
    """Loaded, with every tensor copied to where memory is handed out: on some processors sums are rounded by where in
    its file a number is, too.
    """
    engine: Any = loaded(place, "diffusion")
    for part in engine._main().components.values():
        if isinstance(part, torch.nn.Module):
            part.load_state_dict({name: tensor.clone() for name, tensor in part.state_dict().items()}, assign=True)
    return engine


def far(first: Fragment, second: Fragment) -> float:
    """How far two pictures are from each other, in levels of colour."""
    return float(np.abs(first.pixels.astype(int) - second.pixels).mean())


def test_the_facts_are_those_of_the_folder(pair: Pair) -> None:
    facts, wanted = inspect_checkpoint(pair.file), inspect_checkpoint(pair.folder)
    assert sorted(facts.networks) == sorted(wanted.networks)
    assert facts.sizes == wanted.sizes == ((64, 64),)
    assert (facts.family, facts.class_name, facts.capabilities, facts.defaults, facts.schedulers) == (
        wanted.family,
        wanted.class_name,
        wanted.capabilities,
        wanted.defaults,
        wanted.schedulers,
    )


def test_it_draws_the_very_pictures_of_the_folder(pair: Pair) -> None:
    engine, other = aligned(pair.file), aligned(pair.folder)
    for capability in inspect_checkpoint(pair.file).capabilities:
        asked = wish(pair.folder, capability, steps=3, strength=0.9)
        [ours], [theirs] = finals(draw(engine, 0, **asked)), finals(draw(other, 0, **asked))
        assert same(ours, theirs), capability
        assert ours.pixels.std() > 1


def test_its_memory_is_that_of_the_folder(pair: Pair) -> None:
    ours, theirs = predict(pair.file), predict(pair.folder)
    assert ours.parts.keys() == theirs.parts.keys()
    for part, types in theirs.parts.items():
        assert ours.parts[part]["F32"] == pytest.approx(types["F32"], rel=0.02), part


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS["sd15"].save(tmp_path_factory.mktemp("stable"))


def test_loras_and_schedulers_work_as_with_the_folder(stable: Pair, tmp_path: Path) -> None:
    lora = Lora("mine", str(save_lora(tmp_path / "lora.safetensors", stable.folder, texts=True)))
    engine, other = aligned(stable.file), aligned(stable.folder)
    plain = draw(engine, 64, steps=3)[-1]
    for wanted in ({"loras": (lora,)}, {"scheduler": "dpmpp_2m_karras"}, {"scheduler": "euler_a", "loras": (lora,)}):
        ours = draw(engine, 64, steps=3, **wanted)[-1]
        assert same(ours, draw(other, 64, steps=3, **wanted)[-1])
        assert not same(ours, plain)
    assert same(draw(engine, 64, steps=3)[-1], plain)


def test_one_in_half_precision_stays_a_mapped_file(stable: Pair, tmp_path: Path) -> None:
    half = shelf(tmp_path, stable)
    save_file({name: halved(tensor) for name, tensor in load_file(stable.file).items()}, half)
    assert set(predict(half).parts["unet"]) == {"F16"}
    engine: Any = loaded(half, "diffusion")
    mapped = sum(weight.master.nbytes for weight in engine.weights.all if weight.mapped)
    if sys.platform == "linux":
        assert mapped > 0.95 * sum(weight.master.nbytes for weight in engine.weights.all)
    assert 0 < far(draw(engine, 64, steps=1)[-1], draw(loaded(stable.file, "diffusion"), 64, steps=1)[-1]) < 8


def test_nothing_large_of_flux_is_copied(tmp_path: Path) -> None:
    pair = KINDS["flux_schnell"].save(tmp_path)
    engine: Any = loaded(pair.file, "diffusion")
    copied = [weight.master for weight in engine.weights.all if not weight.mapped]
    if sys.platform == "linux":
        assert sum(master.nbytes for master in copied) < 0.2 * pair.file.stat().st_size
    assert engine.size_bytes() <= pair.file.stat().st_size, "the words of T5 are there once"


@pytest.mark.parametrize("memory", ["sliced", "components", "sequential"])
def test_every_way_to_spare_memory_draws_the_same(stable: Pair, memory: MemoryRung) -> None:
    engine = loaded(stable.file, "diffusion")
    whole = draw(engine, 64, steps=2)[-1]
    assert engine.adapt(Plan(memory=memory))
    assert far(draw(engine, 64, steps=2)[-1], whole) < 1


def test_eight_bit_numbers_are_widened(tmp_path: Path) -> None:
    """All parts of FLUX.1 in one file, as it is mostly passed around."""
    pair = KINDS["flux_schnell"].save(tmp_path)
    narrow = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(pair.file).items()}
    save_file({name: t if name.startswith("model") else t.half() for name, t in narrow.items()}, pair.file)
    assert set(predict(pair.file).parts["transformer"]) == {"F8_E4M3"}
    rounded = pair.file.with_name("rounded.safetensors")
    save_file({name: tensor.float() for name, tensor in load_file(pair.file).items()}, rounded)
    shutil.copy(pair.file.with_suffix(".tessera.json"), rounded.with_suffix(".tessera.json"))
    ours, theirs = (draw(loaded(one, "diffusion"), 64, steps=2)[-1] for one in (pair.file, rounded))
    assert far(ours, theirs) < 1


def test_files_of_early_days_and_leftovers_of_training_are_read(stable: Pair, tmp_path: Path) -> None:
    """No `text_model.` in the names of the text encoder; weights that were averaged, beside those that are used."""
    file = shelf(tmp_path, stable)
    tensors = load_file(stable.file)
    early = {name.replace(".transformer.text_model.", ".transformer."): tensor for name, tensor in tensors.items()}
    early |= {f"model_ema.{number}": torch.zeros(3) for number in range(200)}
    save_file({**early, "alphas_cumprod": torch.zeros(1000)}, file)
    assert inspect_checkpoint(file) == inspect_checkpoint(stable.file)
    assert same(
        draw(loaded(file, "diffusion"), 64, steps=2)[-1], draw(loaded(stable.file, "diffusion"), 64, steps=2)[-1]
    )


def test_sdxl_that_tells_velocity_says_so_by_two_tensors(tmp_path: Path) -> None:
    pair = KINDS["sdxl"].save(tmp_path)
    before = draw(loaded(pair.file, "diffusion"), 64, steps=2)[-1]
    save_file({**load_file(pair.file), "v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, pair.file)
    noise = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    change(pair.folder / "scheduler" / "scheduler_config.json", **noise)
    ours, theirs = (draw(aligned(one), 64, steps=2)[-1] for one in (pair.file, pair.folder))
    assert same(ours, theirs)
    assert far(ours, before) > 5


def halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def shelf(folder: Path, pair: Pair) -> Path:
    """Where a file may be written, with what belongs to the one of this pair."""
    shutil.copytree(pair.file.parent / "tokenizer", folder / "tokenizer")
    shutil.copy(pair.file.with_suffix(".tessera.json"), folder / "mine.tessera.json")
    return folder / "mine.safetensors"
