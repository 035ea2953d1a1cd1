"""What a checkpoint folder is, and every reason to refuse one."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.engines.errors import CheckpointError, UnknownFamilyError
from generation.engines.factory import ENGINES, create_engine
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(diffusion_folder: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be broken."""
    return shutil.copytree(diffusion_folder, tmp_path / "mine")


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_a_diffusion_folder(diffusion_folder: Path) -> None:
    facts = inspect_checkpoint(diffusion_folder)
    assert (facts.family, facts.class_name, facts.variant) == ("diffusion", "StableDiffusionPipeline", None)
    assert facts.capabilities == ("text_to_image", "image_to_image")
    assert facts.sizes == ((32, 32),)
    assert facts.defaults == {"steps": 25, "guidance": 7.0, "strength": 0.6}
    weights = sum(file.stat().st_size for file in diffusion_folder.rglob("*.safetensors"))
    assert 0 < facts.size_bytes < weights


def test_a_stock_janus_folder(janus_folder: Path) -> None:
    facts = inspect_checkpoint(janus_folder)
    assert (facts.family, facts.capabilities, facts.sizes) == ("multimodal", ("text_to_image",), ((16, 16),))
    assert facts.defaults == {"temperature": 1.0, "guidance": 2.0}


def test_a_mosaic_folder(mosaic_folder: Path) -> None:
    assert inspect_checkpoint(mosaic_folder).sizes == ((32, 32),)


@pytest.mark.parametrize(
    ("edge", "sizes"),
    [(64, ((512, 512), (768, 512), (512, 768))), (128, ((1024, 1024), (1152, 896), (896, 1152)))],
)
def test_large_ones_draw_landscapes_and_portraits(folder: Path, edge: int, sizes: object) -> None:
    change(folder / "unet/config.json", sample_size=edge)
    change(folder / "vae/config.json", block_out_channels=[8, 8, 8, 8])
    assert inspect_checkpoint(folder).sizes == sizes


def test_a_few_step_checkpoint_is_known_by_its_scheduler(folder: Path) -> None:
    change(folder / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    assert inspect_checkpoint(folder).defaults["steps"] == 4


def test_the_folder_may_say_itself_what_is_best(folder: Path) -> None:
    own = folder / "tessera.json"
    own.write_text('{"sizes": [[64, 32]], "defaults": {"steps": 9}}', encoding="utf-8")
    facts = inspect_checkpoint(folder)
    assert facts.sizes == ((64, 32),) and facts.defaults["steps"] == 9 and facts.defaults["strength"] == 0.6
    own.write_text('{"defaults": {"seed": 9}}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="seed"):
        inspect_checkpoint(folder)
    own.write_text('{"sizes": [64]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tessera\.json"):
        inspect_checkpoint(folder)


def test_half_precision_files_are_a_variant(folder: Path) -> None:
    (folder / UNET).rename(folder / UNET.replace(".safetensors", ".fp16.safetensors"))
    assert inspect_checkpoint(folder).variant == "fp16"


def truncate(folder: Path) -> None:
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[: len(data) // 2])


def cut_header(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:20])


def garble_header(folder: Path) -> None:
    (folder / UNET).write_bytes(struct.pack("<Q", 8) + b"not json" + bytes(8))


def overlap(folder: Path) -> None:
    header = json.dumps({"a": {"data_offsets": [0, 4]}, "b": {"data_offsets": [2, 6]}}).encode()
    (folder / UNET).write_bytes(struct.pack("<Q", len(header)) + header + bytes(6))


def pickle_instead(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet/diffusion_pytorch_model.bin")


def lose_a_shard(folder: Path) -> None:
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "part-2.safetensors"}}', encoding="utf-8")


def link_out(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    outside.write_text("{}", encoding="utf-8")
    (folder / "unet/more.json").symlink_to(outside)


def foreign_part(folder: Path) -> None:
    change(folder / "model_index.json", unet=["my_library", "UNet"])


REFUSALS: list[tuple[str, Callable[[Path], object]]] = [
    ("There is no folder", shutil.rmtree),
    ("neither model_index.json nor config.json", lambda folder: (folder / "model_index.json").unlink()),
    ("cannot be read as JSON", lambda folder: (folder / "model_index.json").write_text("{")),
    ("cannot be read as JSON", lambda folder: (folder / "unet/config.json").write_bytes(b"\xff\xfe")),
    ("does not hold a JSON object", lambda folder: (folder / "vae/config.json").write_text("[]")),
    ("is a EvilPipeline", lambda folder: change(folder / "model_index.json", _class_name="EvilPipeline")),
    ("which Tessera cannot draw with", lambda folder: change(folder / "model_index.json", _class_name=["x", "y"])),
    ("comes from 'my_library'", foreign_part),
    ("lacks its part text_encoder", lambda folder: shutil.rmtree(folder / "text_encoder")),
    ("only pickled weights", pickle_instead),
    ("no weights", lambda folder: (folder / UNET).unlink()),
    (r"lacks part-2\.safetensors", lose_a_shard),
    ("program code", lambda folder: (folder / "unet/model.py").write_text("raise SystemExit")),
    ("auto_map", lambda folder: change(folder / "unet/config.json", auto_map={"AutoModel": "model.Model"})),
    ("auto_map", lambda folder: change(folder / "tokenizer/tokenizer_config.json", deep=[{"auto_map": {}}])),
    ("leads out of the folder", link_out),
    ("damaged: its tensors need", truncate),
    ("damaged: its header is longer", cut_header),
    ("damaged: its header cannot be read", garble_header),
    ("damaged: its header cannot be read", overlap),
]


@pytest.mark.parametrize(("reason", "damage"), REFUSALS, ids=range(len(REFUSALS)))
def test_it_is_refused_with_the_reason(folder: Path, reason: str, damage: Callable[[Path], object]) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        inspect_checkpoint(folder)


def test_an_unknown_architecture_is_refused(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "mine")
    change(folder / "config.json", architectures=["LlamaForCausalLM"])
    with pytest.raises(CheckpointError, match="LlamaForCausalLM"):
        inspect_checkpoint(folder)


def test_a_mosaic_needs_its_tables(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "mine")
    (folder / "mosaic.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"mosaic\.safetensors"):
        inspect_checkpoint(folder)


def test_an_unknown_family_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownFamilyError, match="'oracle'") as caught:
        create_engine(CheckpointSpec("x", "/nowhere", "oracle"))
    assert all(family in caught.value.hint for family in ENGINES)


def test_inspecting_and_creating_need_no_torch() -> None:
    code = "import sys, generation.engines.inspection, generation.engines.factory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
