"""LoRAs on tiny real pipelines: applied, weighted, taken off again, while the base weights stay where they are."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.engines.base import Engine
from generation.engines.errors import InvalidParamsError
from generation.engines.fragments import Fragment
from generation.engines.lora import KEPT
from generation.engines.params import Lora
from tests.generation.engines import tiny, tiny_lora
from tests.generation.engines.drawing import draw, loaded, png, same

pytestmark = [
    # peft's own, with the newest torch and numpy
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

EDGE = 32


@pytest.fixture
def engine(diffusion_folder: Path) -> Engine:
    return loaded(diffusion_folder, "diffusion")


@pytest.fixture(scope="module")
def files(diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("loras")
    return [tiny_lora.save_lora(folder / f"{seed}.safetensors", diffusion_folder, seed=seed) for seed in (1, 2)]


def lora(file: Path, weight: float = 1.0, **more: str) -> Lora:
    return Lora(file.stem, str(file), weight, **more)


def sketch(engine: Engine, *loras: Lora, **wish: object) -> Fragment:
    return draw(engine, EDGE, steps=3, loras=loras, **wish)[-1]


def base_weights(engine: Engine) -> dict[str, int]:
    """Where each base weight lies; a LoRA's layer wraps the base layer, so names lose that step."""
    unet = engine._pipelines["text_to_image"].unet
    return {
        name.replace(".base_layer", ""): weight.data_ptr()
        for name, weight in unet.named_parameters()
        if "lora_" not in name
    }


def test_a_lora_changes_the_picture_by_its_weight_and_is_gone_without_a_trace(
    engine: Engine, files: list[Path]
) -> None:
    before, weights = sketch(engine), base_weights(engine)
    full, half = sketch(engine, lora(files[0])), sketch(engine, lora(files[0], 0.5))
    assert len({picture.pixels.tobytes() for picture in (before, full, half)}) == 3
    assert same(full, sketch(engine, lora(files[0])))
    assert same(before, sketch(engine)), "removed"
    assert same(before, sketch(engine, lora(files[0], 0))), "of no weight"
    assert base_weights(engine) == weights, "nothing was read again"


def test_two_loras_at_once_each_by_its_weight(engine: Engine, files: list[Path]) -> None:
    both = sketch(engine, lora(files[0], 0.7), lora(files[1], -0.4))
    alone = [sketch(engine, lora(files[0], 0.7)), sketch(engine, lora(files[1], -0.4))]
    assert not any(same(both, one) for one in alone)
    assert same(both, sketch(engine, lora(files[1], -0.4), lora(files[0], 0.7))), "in any order"
    assert same(alone[0], sketch(engine, lora(files[0], 0.3), lora(files[0], 0.4))), "twice is the sum"


def test_it_counts_when_a_picture_is_the_beginning_too(engine: Engine, files: list[Path]) -> None:
    source = png(np.full((EDGE, EDGE, 3), 90, np.uint8))
    wish = {"capability": "image_to_image", "source": source, "strength": 1.0}
    plain = sketch(engine, **wish)
    assert not same(plain, sketch(engine, lora(files[0]), **wish))
    assert same(plain, sketch(engine, **wish))


def test_one_for_the_text_encoder_too(engine: Engine, diffusion_folder: Path, tmp_path: Path) -> None:
    words = tiny_lora.save_lora(tmp_path / "words.safetensors", diffusion_folder, texts=True)
    before = sketch(engine)
    with_words = sketch(engine, lora(words))
    tensors = load_file(words)
    save_file({name: tensors[name] for name in tensors if name.startswith("unet.")}, tmp_path / "plain.safetensors")
    assert not same(with_words, sketch(engine, lora(tmp_path / "plain.safetensors")))
    assert same(before, sketch(engine))


def test_the_names_that_most_files_use(
    engine: Engine, files: list[Path], diffusion_folder: Path, tmp_path: Path
) -> None:
    kohya = tiny_lora.save_kohya_lora(tmp_path / "kohya.safetensors", diffusion_folder, seed=1)
    assert same(sketch(engine, lora(kohya)), sketch(engine, lora(files[0])))
    louder = tiny_lora.save_kohya_lora(tmp_path / "louder.safetensors", diffusion_folder, seed=1, alpha=4.0)
    assert same(sketch(engine, lora(louder, 0.5)), sketch(engine, lora(files[0])))


@pytest.mark.parametrize("save", [tiny.save_xl, tiny.save_flow])
def test_the_other_pipelines_take_them(save: object, tmp_path: Path) -> None:
    folder = save(tmp_path / "other")  # type: ignore[operator]
    engine, file = loaded(folder, "diffusion"), tiny_lora.save_lora(tmp_path / "l.safetensors", folder)
    before = sketch(engine)
    assert not same(before, sketch(engine, lora(file)))
    assert same(before, sketch(engine))


def test_a_file_that_changed_is_read_anew(engine: Engine, diffusion_folder: Path, tmp_path: Path) -> None:
    file = tiny_lora.save_lora(tmp_path / "style.safetensors", diffusion_folder, seed=1)
    first = sketch(engine, lora(file))
    known = hashlib.sha256(file.read_bytes()).hexdigest()
    assert same(first, sketch(engine, lora(file, sha256=known)))
    tiny_lora.save_lora(tmp_path / "style.safetensors", diffusion_folder, seed=2)
    os.utime(file, (1, 1))
    assert not same(first, sketch(engine, lora(file)))
    with pytest.raises(InvalidParamsError, match="another file than the one that was asked for"):
        sketch(engine, lora(file, sha256=known))


def test_only_some_are_kept(engine: Engine, diffusion_folder: Path, tmp_path: Path) -> None:
    file = tiny_lora.save_lora(tmp_path / "0.safetensors", diffusion_folder)
    copies = [tmp_path / f"{number}.safetensors" for number in range(KEPT + 3)]
    for copy in copies[1:]:
        copy.write_bytes(file.read_bytes())
    drawn = {sketch(engine, lora(copy)).pixels.tobytes() for copy in copies}
    assert len(drawn) == 1
    adapters = engine._pipelines["text_to_image"].get_list_adapters()
    assert len(adapters["unet"]) == KEPT
    assert sketch(engine, lora(copies[0])).pixels.tobytes() in drawn, "one that was put away comes back"


@pytest.mark.parametrize("first", [False, True], ids=["alone", "beside another"])
def test_one_of_the_wrong_shape_is_refused_and_changes_nothing(
    first: bool, engine: Engine, files: list[Path], tmp_path: Path
) -> None:
    before = sketch(engine)
    if first:
        assert not same(before, sketch(engine, lora(files[0])))
    weights = base_weights(engine)
    tensors = {name: torch.randn(tensor.shape[0], tensor.shape[1] + 3) for name, tensor in load_file(files[1]).items()}
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(InvalidParamsError, match="The LoRA wide does not fit this checkpoint"):
        sketch(engine, lora(files[0], 0.5), lora(tmp_path / "wide.safetensors"))
    assert same(before, sketch(engine))
    assert base_weights(engine) == weights
    assert not any("wide" in name for name in engine._pipelines["text_to_image"].unet.state_dict())
    assert same(sketch(engine, lora(files[0])), sketch(engine, lora(files[0])))


def test_one_for_other_networks_is_refused_with_what_it_was_made_for(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "flux.safetensors"
    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file({f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8, 2)}, file)
    before = sketch(engine)
    with pytest.raises(InvalidParamsError, match=r"flux does not fit this checkpoint \(it was made for FLUX\)"):
        sketch(engine, lora(file))
    assert same(before, sketch(engine))


def test_nothing_of_them_is_left_after_unload(engine: Engine, files: list[Path]) -> None:
    before = engine.size_bytes()
    sketch(engine, lora(files[0]))
    assert engine.size_bytes() > before
    engine.unload()
    assert engine.size_bytes() == 0
