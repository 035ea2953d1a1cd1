"""What a checkpoint folder is, and every reason to refuse one."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.engines.checkpoint_files import variant_of
from generation.engines.errors import CheckpointError, UnknownFamilyError
from generation.engines.factory import ENGINES, create_engine
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec
from tests.generation.engines.drawing import change

SHAPES = ((1152, 896), (1216, 832), (1344, 768))
LARGE = ((1024, 1024), *(size for wide in SHAPES for size in (wide, wide[::-1])))
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(diffusion_folder: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be broken."""
    return shutil.copytree(diffusion_folder, tmp_path / "mine")


def test_a_diffusion_folder(diffusion_folder: Path) -> None:
    facts = inspect_checkpoint(diffusion_folder)
    assert (facts.family, facts.class_name) == ("diffusion", "StableDiffusionPipeline")
    assert set(facts.networks) == {"unet", "vae", "text_encoder"}
    assert variant_of(diffusion_folder / "unet") is None
    assert facts.capabilities == ("text_to_image", "image_to_image", "inpaint")
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
    [(64, ((512, 512), (768, 512), (512, 768))), (128, LARGE)],
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


def test_a_multimodal_folder_says_what_it_can_beyond_drawing(looking_folder: Path, tmp_path: Path) -> None:
    assert inspect_checkpoint(looking_folder).capabilities == ("text_to_image", "edit", "describe")
    mine = shutil.copytree(looking_folder, tmp_path / "mine")
    change(mine / "tessera.json", capabilities=["describe"])
    assert inspect_checkpoint(mine).capabilities == ("text_to_image", "describe")
    for wrong in ("inpaint", "text_to_image", 7, ["edit"]):
        change(mine / "tessera.json", capabilities=["edit", wrong])
        with pytest.raises(CheckpointError, match="lists the capability .*; known are edit, describe"):
            inspect_checkpoint(mine)
    change(mine / "tessera.json", capabilities="edit")
    with pytest.raises(CheckpointError, match='"capabilities" is not a list'):
        inspect_checkpoint(mine)
    (mine / "tessera.json").unlink()
    assert inspect_checkpoint(mine).capabilities == ("text_to_image",)


def test_a_diffusion_folder_claims_nothing(folder: Path) -> None:
    (folder / "tessera.json").write_text('{"capabilities": ["edit"]}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="known already for diffusion"):
        inspect_checkpoint(folder)


def test_half_precision_files_are_a_variant(folder: Path) -> None:
    (folder / UNET).rename(folder / UNET.replace(".safetensors", ".fp16.safetensors"))
    assert variant_of(folder / "unet") == "fp16"
    assert inspect_checkpoint(folder).size_bytes > 0


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


def circle(folder: Path) -> None:
    (folder / "unet/more.json").symlink_to("more.json")


def foreign_part(folder: Path) -> None:
    change(folder / "model_index.json", unet=["my_library", "UNet"])


def own(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "tessera.json").write_text(text, encoding="utf-8")


def nested(depth: int) -> Callable[[Path], object]:
    text = '{"a":' + "[" * depth + "]" * depth + "}"
    return lambda folder: (folder / "vae/config.json").write_text(text, encoding="utf-8")


def nested_header(folder: Path) -> None:
    text = b"[" * 100_000
    (folder / UNET).write_bytes(struct.pack("<Q", len(text)) + text)


def weight_map(value: object) -> Callable[[Path], object]:
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    return lambda folder: (folder / index).write_text(json.dumps({"weight_map": value}), encoding="utf-8")


def without_config(folder: Path) -> None:
    (folder / "unet/config.json").unlink()


REFUSALS: list[tuple[str, Callable[[Path], object]]] = [
    ("There is no folder", shutil.rmtree),
    ("neither model_index.json nor config.json", lambda folder: (folder / "model_index.json").unlink()),
    ("cannot be read as JSON", lambda folder: (folder / "model_index.json").write_text("{")),
    ("cannot be read as JSON", lambda folder: (folder / "unet/config.json").write_bytes(b"\xff\xfe")),
    ("does not hold a JSON object", lambda folder: (folder / "vae/config.json").write_text("[]")),
    ("is a EvilPipeline", lambda folder: change(folder / "model_index.json", _class_name="EvilPipeline")),
    ("its _class_name is a class of its own", lambda f: change(f / "model_index.json", _class_name=["x", "y"])),
    ("is a FluxyPipeline, which Tessera", lambda f: change(f / "model_index.json", _class_name="FluxyPipeline")),
    ("comes from 'my_library'", foreign_part),
    ("lacks its part text_encoder", lambda folder: shutil.rmtree(folder / "text_encoder")),
    ("is a pickle, which can run code", pickle_instead),
    ("no weights", lambda folder: (folder / UNET).unlink()),
    (r"lacks part-2\.safetensors", lose_a_shard),
    ("program code", lambda folder: (folder / "unet/model.py").write_text("raise SystemExit")),
    ("auto_map", lambda folder: change(folder / "unet/config.json", auto_map={"AutoModel": "model.Model"})),
    ("auto_map", lambda folder: change(folder / "tokenizer/tokenizer_config.json", deep=[{"auto_map": {"A": "m.A"}}])),
    ("leads out of the folder", link_out),
    ("damaged: its tensors need", truncate),
    ("damaged: its header is longer", cut_header),
    ("damaged: its header cannot be read", garble_header),
    ("damaged: its header cannot be read", overlap),
    ("damaged: its header cannot be read", nested_header),
    ("cannot be read as JSON: it is nested too deeply", nested(100_000)),
    ("leads out of the folder", circle),
    (r'weight_map" is not an object', weight_map([])),
    ("in 'None', which is no file beside it", weight_map({"a": None})),
    (
        r'vae/config.json: "block_out_channels" is not a list',
        lambda f: change(f / "vae/config.json", block_out_channels=3),
    ),
    ("at most 8", lambda folder: change(folder / "vae/config.json", block_out_channels=[8] * 5000)),
    ("would draw 4x4", lambda folder: change(folder / "unet/config.json", sample_size=1)),
    (r'unet/config.json: "sample_size" is not a whole', lambda f: change(f / "unet/config.json", sample_size=-8)),
    (r'"sample_size" is not a whole', lambda folder: change(folder / "unet/config.json", sample_size=10**400)),
    (r'"_class_name" is not text', lambda f: change(f / "scheduler/scheduler_config.json", _class_name={})),
    ("pipeline of its own", lambda f: change(f / "model_index.json", unet=["diffusers", "DiffusionPipeline"])),
    ("unet has no config.json", without_config),
    ("comes from '{}'", lambda folder: change(folder / "model_index.json", unet=[{}, "UNet2DConditionModel"])),
    ("comes from 'diffusers'", lambda folder: change(folder / "model_index.json", unet=["diffusers", 5])),
    (
        "names the part '../mine', which leads",
        lambda f: change(f / "model_index.json", **{"../mine": ["diffusers", "UNet"]}),
    ),
    ("The steps is 600; use 1 to 150", own('{"defaults": {"steps": 600}}')),
    (r'"steps" is not a whole number', own('{"defaults": {"steps": 0}}')),
    (r'"steps" is not a whole number', own('{"defaults": {"steps": 4.5}}')),
    (r'"steps" is not a whole number', own('{"defaults": {"steps": true}}')),
    ("The strength is 0.0; use 0.01 to 1", own('{"defaults": {"strength": 0}}')),
    ("The strength is nan", own('{"defaults": {"strength": NaN}}')),
    ("The guidance is -5.0; use 0 to 30", own('{"defaults": {"guidance": -5}}')),
    (r'"guidance" is not a number', own('{"defaults": {"guidance": "much"}}')),
    ("sets temperature; known are steps, guidance, strength", own('{"defaults": {"temperature": 1}}')),
    (r'"defaults" is not an object', own('{"defaults": []}')),
    (r'"sizes" is not a list', own('{"sizes": {}}')),
    (r'"sizes" is not a list of \[width, height\]', own('{"sizes": [[32, 32, 32]]}')),
    (r'"sizes" is not a list of \[width, height\]', own('{"sizes": [[32.0, "32"]]}')),
    (r"tessera\.json.*multiples of 8 from 16 to 4096", own('{"sizes": [[36, 36]]}')),
    ("multiples of 8 from 16 to 4096", own('{"sizes": [[0, -8]]}')),
    ("multiples of 8 from 16 to 4096", own('{"sizes": [[8192, 64]]}')),
]


@pytest.mark.parametrize(("reason", "damage"), REFUSALS, ids=range(len(REFUSALS)))
def test_it_is_refused_with_the_reason(folder: Path, reason: str, damage: Callable[[Path], object]) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        inspect_checkpoint(folder)


MULTIMODAL_REFUSALS: list[tuple[str, Callable[[Path], object]]] = [
    ("is a LlamaForCausalLM", lambda folder: change(folder / "config.json", architectures=["LlamaForCausalLM"])),
    ("is a None", lambda folder: change(folder / "config.json", architectures=[])),
    ('"architectures" is not a list', lambda folder: change(folder / "config.json", architectures={})),
    ('"vision_config" is not an object', lambda folder: change(folder / "config.json", vision_config=[])),
    (r"lacks mosaic\.safetensors", lambda folder: (folder / "mosaic.safetensors").unlink()),
    ('"temperature" is not a number', lambda f: change(f / "generation_config.json", temperature="hot")),
    ("The temperature is 9.0; use 0 to 5", lambda f: change(f / "generation_config.json", temperature=9)),
    ("mosaic of version 3, and this Tessera reads 2", lambda folder: change(folder / "mosaic.json", version=3)),
    ('"tile" is not a whole number', lambda folder: change(folder / "mosaic.json", tile=[4])),
    ("does not say tile, rows and columns", lambda folder: change(folder / "mosaic.json", rows=None)),
    ("would draw 36x32", lambda folder: change(folder / "mosaic.json", columns=9)),
    ("it draws 32x32 only", own('{"sizes": [[64, 64]]}')),
    ("sets steps; known are guidance, temperature", own('{"defaults": {"steps": 4}}')),
]


@pytest.mark.parametrize(("reason", "damage"), MULTIMODAL_REFUSALS, ids=range(len(MULTIMODAL_REFUSALS)))
def test_a_multimodal_one_is_refused_with_the_reason(
    mosaic_folder: Path, tmp_path: Path, reason: str, damage: Callable[[Path], object]
) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "mine")
    damage(folder)
    with pytest.raises(CheckpointError, match=reason):
        inspect_checkpoint(folder)


def test_a_config_without_a_section_is_no_reason(mosaic_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mosaic_folder, tmp_path / "mine")
    change(folder / "config.json", vision_config=None)
    assert inspect_checkpoint(folder).sizes == ((32, 32),)


@pytest.mark.parametrize("name", ["model_index.json", "unet", UNET])
def test_what_may_not_be_read_is_named(folder: Path, name: str) -> None:
    """Asked as a user to whom the permissions apply, which the first one is not."""
    for place in (folder, *folder.parents):
        if place.owner() == "root" and place != Path("/") and "pytest" in str(place):
            place.chmod(place.stat().st_mode | 0o055)
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (folder / name).chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError, match=f"{Path(name).name}: Permission denied") as caught:
            inspect_checkpoint(folder)
    finally:
        os.seteuid(before)
        (folder / name).chmod(0o700)
    assert "right to read" in caught.value.hint


def test_an_unknown_family_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownFamilyError, match="'oracle'") as caught:
        create_engine(CheckpointSpec("x", "/nowhere", "oracle"))
    assert all(family in caught.value.hint for family in ENGINES)


def test_inspecting_and_creating_need_no_torch() -> None:
    code = "import sys, generation.engines.inspection, generation.engines.factory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
