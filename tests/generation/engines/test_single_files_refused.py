"""Single files that must not, or cannot, be checkpoints: each refused with its reason, from its header only."""

import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.engines.errors import CheckpointError
from generation.engines.fingerprint import Sums
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec
from tests.generation.engines.drawing import change, loaded, lose
from tests.generation.engines.hostile import header, many_tensors, tensor
from tests.generation.engines.test_hostile import inspect
from tests.generation.engines.tiny_single import KINDS, Pair

Harm = Callable[[Path], object]
UNET = "model.diffusion_model."
OWN = ".tessera.json"
CLIP = "cond_stage_model.transformer."
WORDS = f"{CLIP}text_model.embeddings.token_embedding.weight"
CROSS = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def stable(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS["sd15"].save(tmp_path_factory.mktemp("stable"))


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS["flux_dev"].save(tmp_path_factory.mktemp("flux"))


def copy(pair: Pair, place: Path) -> Path:
    """The file, with all that belongs to it."""
    return shutil.copytree(pair.file.parent, place / "shelf", ignore=shutil.ignore_patterns("folder")) / pair.file.name


class Bomb:
    """Reading it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(self.canary),)


def archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("archive/data.pkl", pickle.dumps(Bomb(file.with_name("canary"))))


def keeps(*starts: str) -> Harm:
    """Only tensors whose names begin so."""

    def harm(file: Path) -> None:
        save_file({name: tensor for name, tensor in load_file(file).items() if name.startswith(starts)}, file)

    return harm


def without(*starts: str) -> Harm:
    def harm(file: Path) -> None:
        save_file({name: tensor for name, tensor in load_file(file).items() if not name.startswith(starts)}, file)

    return harm


def renamed(old: str, new: str) -> Harm:
    def harm(file: Path) -> None:
        save_file({name.replace(old, new): tensor for name, tensor in load_file(file).items()}, file)

    return harm


def shaped(name: str, *shape: int) -> Harm:
    """That tensor in another shape."""
    return lambda file: save_file({**load_file(file), name: torch.zeros(shape)}, file)


def added(name: str) -> Harm:
    return shaped(name, 1)


# name, part of the reason, how it is made
REFUSED: list[tuple[str, str, Harm]] = [
    ("pickle", "is a pickle.*whatever its name", lambda f: f.write_bytes(pickle.dumps(Bomb(f.with_name("canary")), 4))),
    ("archive", "zip archive", archive),
    ("truncated", "its tensors need", lambda file: file.write_bytes(file.read_bytes()[:-100])),
    ("empty", "longer than the file", lambda file: file.write_bytes(b"")),
    ("header bomb", "values|200,000 tensors", lambda file: file.write_bytes(many_tensors(200_000))),
    ("long header", "longer than the file", lambda file: file.write_bytes(header(b"{}", length=2**63 - 1))),
    ("no tensors", "of no kind", lambda file: file.write_bytes(header(b"{}"))),
    ("lora", "is a LoRA", lambda f: save_file({"lora_unet_down.lora_down.weight": torch.zeros(2)}, f)),
    ("control", "is a ControlNet", lambda file: save_file({"control_model.a": torch.zeros(2)}, file)),
    ("decoder alone", "no network that draws", keeps("first_stage_model.")),
    ("no decoder", "lacks its picture decoder", without("first_stage_model.")),
    ("no encoder of words", "lacks its text encoder", without("cond_stage_model.")),
    ("no encoder of pictures", "has 0 stages, not 4", without("first_stage_model.encoder.")),
    (
        "stable diffusion 2",
        "is Stable Diffusion 2",
        renamed(CLIP, "cond_stage_model.model."),
    ),
    ("by instruction", "takes 8 channels", shaped(f"{UNET}input_blocks.0.0.weight", 32, 8, 3, 3)),
    ("flat", "takes no channels", shaped(f"{UNET}input_blocks.0.0.weight", 32)),
    ("two kinds of layers", "layers of two kinds", shaped(f"{UNET}input_blocks.2.0.out_layers.3.weight", 48, 32, 3, 3)),
    ("no attention", "in another order", without(f"{UNET}input_blocks.1.1.", f"{UNET}input_blocks.2.1.")),
    ("no layers", "has no layers", without(f"{UNET}input_blocks.1.", f"{UNET}input_blocks.2.")),
    ("no middle", r"lacks middle_block\.1", without(f"{UNET}middle_block.")),
    (
        "words of no shape",
        "strange shape",
        shaped(WORDS, 9),
    ),
    ("scaled", "quantised", added(f"{UNET}out.0.scale_weight")),
    ("stable diffusion 3", "is Stable Diffusion 3", added(f"{UNET}joint_blocks.0.x")),
    ("code beside", "is program code", lambda file: (file.parent / "tokenizer" / "run.py").touch()),
    (
        "settings beside",
        "sets speed",
        lambda f: f.with_suffix(OWN).write_text('{"defaults": {"speed": 1}}'),
    ),
    ("link beside", "is a link", lambda file: linked(file.with_suffix(OWN))),
]


def linked(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


@pytest.mark.parametrize(("reason", "harm"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_it_is_refused_with_its_reason(stable: Pair, tmp_path: Path, reason: str, harm: Harm) -> None:
    file = copy(stable, tmp_path)
    assert inspect_checkpoint(file).class_name == "StableDiffusionPipeline"
    harm(file)
    with pytest.raises(CheckpointError, match=reason) as caught:
        inspect_checkpoint(file)
    assert caught.value.hint
    assert not file.with_name("canary").exists()


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".CKPT"])
def test_pickles_are_refused_by_name(stable: Pair, tmp_path: Path, suffix: str) -> None:
    file = copy(stable, tmp_path)
    with pytest.raises(CheckpointError, match="is a pickle"):
        inspect_checkpoint(file.rename(file.with_suffix(suffix)))


def test_other_files_are_refused_by_name(stable: Pair, tmp_path: Path) -> None:
    file = copy(stable, tmp_path)
    with pytest.raises(CheckpointError, match=r"no \.safetensors file"):
        inspect_checkpoint(file.rename(file.with_suffix(".gguf")))
    with pytest.raises(CheckpointError, match="There is no file"):
        inspect_checkpoint(file)


@pytest.mark.parametrize(
    ("reason", "harm"),
    [
        ("lack 1 tensors", lambda file: lose(file, f"{UNET}out.2.bias")),
        ("lack 1 tensors", lambda file: lose(file, "first_stage_model.quant_conv.bias")),
        ("have other shapes than they must", shaped(CROSS, 32, 63)),
        (
            "tokenizer beside .* knows 514 words",
            shaped("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", 500, 64),
        ),
    ],
    ids=["network", "decoder", "shape", "words"],
)
def test_what_the_header_does_not_tell_is_found_when_it_is_loaded(
    stable: Pair, tmp_path: Path, reason: str, harm: Harm
) -> None:
    file = copy(stable, tmp_path)
    harm(file)
    with pytest.raises(CheckpointError, match=reason):
        loaded(file, "diffusion")


def test_bombs_are_refused_in_little_memory(stable: Pair, tmp_path: Path) -> None:
    """As folders are, in a process of its own without torch; shapes that hold nothing and claim everything, too."""
    bombs = {
        "many": many_tensors(200_000),
        "brackets": header(b"[" + b"[]," * 5_000_000 + b"0]"),
        "long": header(b"{", length=100_000_000),
        "vast": header({WORDS: tensor(0, 0, shape=[2**40, 0]), f"{UNET}input_blocks.0.0.weight": tensor(0, 0)}),
    }
    files = [copy(stable, tmp_path)]
    for name, data in bombs.items():
        files.append(tmp_path / f"{name}.safetensors")
        files[-1].write_bytes(data)
    (accepted, *_), *verdicts = inspect(files)
    assert accepted == "accepted"
    assert [code for code, *_ in verdicts] == ["checkpoint_unusable"] * len(bombs)


@pytest.mark.parametrize("name", [WORDS, f"{UNET}input_blocks.1.0.out_layers.3.weight"])
def test_edges_that_hold_nothing_are_refused(stable: Pair, tmp_path: Path, name: str) -> None:
    file = copy(stable, tmp_path)
    shaped(name, 0, 2_000_000)(file)
    with pytest.raises(CheckpointError, match="strange shape"):
        inspect_checkpoint(file)


def test_what_lies_beside_it_is_checked_too(stable: Pair, flux: Pair, tmp_path: Path) -> None:
    for pair, name in ((stable, "tokenizer/tokenizer.json"), (flux, "ae.safetensors"), (flux, "mine.tessera.json")):
        file = copy(pair, tmp_path / name.partition(".")[0])
        found = Sums().of(file)
        spec = CheckpointSpec("mine", str(file), "diffusion", sha256=found.sha256, manifest=found.manifest)
        Sums().verify(spec)
        with (file.parent / name).open("ab") as stream:
            stream.write(b" ")
        with pytest.raises(CheckpointError, match=f"{name} has changed"):
            Sums().verify(spec)
        file.write_bytes(b"")
        with pytest.raises(CheckpointError, match="mine.safetensors has changed"):
            Sums().verify(spec)


def test_flux_says_which_parts_it_lacks_and_where_to_put_them(flux: Pair, tmp_path: Path) -> None:
    file = copy(flux, tmp_path)
    for name in ("ae.safetensors", "t5xxl_fp16.safetensors"):
        (file.parent / name).unlink()
    shutil.rmtree(file.parent / "tokenizer_2")
    with pytest.raises(CheckpointError, match="without all of its parts") as caught:
        inspect_checkpoint(file)
    assert str(file.parent) in caught.value.hint
    assert caught.value.hint.endswith("ae.safetensors, t5xxl_fp16.safetensors, the folder tokenizer_2.")
    (file.parent / "model_index.json").touch()
    with pytest.raises(CheckpointError) as caught:
        inspect_checkpoint(file)
    assert caught.value.hint == f"The folder it is in is a checkpoint by itself: give {file.parent}."


def test_flux_of_other_widths_is_refused(flux: Pair, tmp_path: Path) -> None:
    file = copy(flux, tmp_path)
    shaped("img_in.weight", 256, 128)(file)
    with pytest.raises(CheckpointError, match="takes 128 channels"):
        inspect_checkpoint(file)
    shaped("img_in.weight", 250, 64)(file)
    with pytest.raises(CheckpointError, match="heads of 128 numbers in 250"):
        inspect_checkpoint(file)


def test_parts_beside_flux_are_refused_as_the_file_itself(flux: Pair, tmp_path: Path) -> None:
    file = copy(flux, tmp_path)
    added("encoder.block.0.layer.0.SelfAttention.q.scale_weight")(file.with_name("t5xxl_fp16.safetensors"))
    with pytest.raises(CheckpointError, match="t5xxl_fp16.safetensors are quantised"):
        inspect_checkpoint(file)
    file.with_name("ae.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="ae.safetensors are damaged"):
        inspect_checkpoint(file)


def test_words_beside_flux_are_refused_as_those_of_a_folder(flux: Pair, tmp_path: Path) -> None:
    file = copy(flux, tmp_path)
    change(file.parent / "tokenizer_2" / "tokenizer_config.json", auto_map={"AutoTokenizer": "t.T"})
    with pytest.raises(CheckpointError, match="auto_map"):
        inspect_checkpoint(file)
