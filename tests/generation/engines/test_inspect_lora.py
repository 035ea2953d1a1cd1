"""A LoRA file is told by its header; whatever else it is, is refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from generation.engines.errors import InvalidParamsError
from generation.engines.inspect_lora import inspect_lora, sha256_of

ROOT = Path(__file__).resolve().parents[3]


def write(file: Path, *names: str, width: int = 768) -> Path:
    save_file({name: torch.zeros(4, width) for name in names}, file)
    return file


@pytest.mark.parametrize(
    ("layer", "width", "made_for"),
    [
        ("unet.down_blocks.0.attn2.to_k", 768, "Stable Diffusion 1.x"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, "Stable Diffusion XL"),
        ("lora_unet_down_blocks_0_attn2_to_k", 1024, "Stable Diffusion 2.x"),
        ("transformer.single_transformer_blocks.0.attn.to_q", 3072, "FLUX"),
        ("diffusion_model.double_blocks.0.img_attn.qkv", 3072, "FLUX"),
        ("transformer.blocks.0.ff", 64, ""),
    ],
)
@pytest.mark.parametrize(("down", "up"), [("lora_A", "lora_B"), ("lora_down", "lora_up")])
def test_what_it_was_made_for(layer: str, width: int, made_for: str, down: str, up: str, tmp_path: Path) -> None:
    file = write(tmp_path / "l.safetensors", f"{layer}.{down}.weight", f"{layer}.{up}.weight", width=width)
    facts = inspect_lora(file)
    assert (facts.made_for, facts.pairs, facts.size_bytes) == (made_for, 1, 2 * 4 * width * 4)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model.diffusion_model.input_blocks.0.0.weight"], "holds no LoRA"),
        (["lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b"], "is a LoHa"),
        (["lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"], "is a LoKr"),
        (["unet.a.lora_A.weight", "unet.a.lora_B.weight", "unet.b.lora_A.weight"], "not whole: half of unet.b weight"),
    ],
)
def test_what_is_no_lora_is_refused_by_name(names: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidParamsError, match=words):
        inspect_lora(write(tmp_path / "other.safetensors", *names))


def test_files_that_cannot_be_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidParamsError, match="There is no LoRA file"):
        inspect_lora(tmp_path / "gone.safetensors")
    pickle = tmp_path / "old.pt"
    pickle.write_bytes(b"\x80\x04")
    with pytest.raises(InvalidParamsError, match="no safetensors file"):
        inspect_lora(pickle)
    (tmp_path / "cut.safetensors").write_bytes(write(tmp_path / "w.safetensors", "a.lora_A.weight").read_bytes()[:90])
    with pytest.raises(InvalidParamsError, match="damaged"):
        inspect_lora(tmp_path / "cut.safetensors")
    with pytest.raises(InvalidParamsError, match="cannot be read"):
        sha256_of(tmp_path / "gone.safetensors")


def test_it_is_told_without_torch(tmp_path: Path) -> None:
    file = write(tmp_path / "l.safetensors", "unet.a.lora_A.weight", "unet.a.lora_B.weight")
    code = (
        "import sys; from generation.engines.inspect_lora import inspect_lora; inspect_lora(sys.argv[1]);"
        "print(sorted({'torch', 'peft', 'diffusers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
