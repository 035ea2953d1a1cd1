"""`manage.py add_checkpoint` with real rooms: what it finds, that it draws before anyone may choose, and refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from django.core.management import call_command
from django.core.management.base import CommandError
from safetensors.torch import load_file, save_file

from generation.models import Checkpoint
from tests.generation.engines.tiny import save_diffusion

pytestmark = pytest.mark.django_db

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with papers."""
    folder = save_diffusion(tmp_path_factory.mktemp("shelf") / "Tiny Diffusion")
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: ours\n---\n# Tiny\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(shelf: Path, tmp_path: Path) -> Path:
    """A copy of its own."""
    return shutil.copytree(shelf, tmp_path / shelf.name)


def refused(*arguments: str) -> str:
    """The reason."""
    with pytest.raises(CommandError) as caught:
        call_command("add_checkpoint", *arguments)
    assert caught.value.returncode == 1
    assert not Checkpoint.objects.exists()
    return str(caught.value)


def test_it_draws_before_it_is_offered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("add_checkpoint", str(folder), "--title", "Tiny", "--json")
    told = json.loads(capsys.readouterr().out)
    found = Checkpoint.objects.get(name="tiny-diffusion")
    assert (found.title, found.enabled, found.licence, found.precision) == ("Tiny", True, "ours", "auto")
    assert found.sha256 == told["sha256"]
    assert (told["family"], told["class"], told["licence"]) == ("diffusion", "StableDiffusionPipeline", "ours")
    assert set(told["parts"]) == {"unet", "vae", "text_encoder"}
    assert told["weights_bytes"] == sum(sum(types.values()) for types in told["parts"].values()) == found.size_bytes
    assert told["memory_bytes"]["fp32"] > told["memory_bytes"]["bf16"] > told["weights_bytes"] / 2
    assert told["disk_bytes"] == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    test = told["test"]
    assert (test["capability"], test["size"], test["precision"], test["device"]) == (
        "text_to_image",
        [32, 32],
        "fp32",
        "cpu",
    )
    assert test["peak_memory_bytes"] > 0 < test["seconds"]


def test_without_a_test_it_is_told_in_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("add_checkpoint", str(folder), "--name", "noise", "--precision", "fp32", "--no-test")
    said = capsys.readouterr().out
    for words in (
        "noise is ready, as noise.",
        "32x32",
        "start from a picture",
        "licence  ours",
        "MB F32",
        "sha256",
        "in bf16",
    ):
        assert words in said
    assert "test  " not in said
    assert Checkpoint.objects.get(name="noise").precision == "fp32"


def test_weights_of_other_shapes_fail_at_the_test_picture(folder: Path) -> None:
    weights = load_file(folder / UNET)
    name = next(name for name, tensor in weights.items() if tensor.ndim == 4)
    weights[name] = torch.zeros(1, 2, 3, 3)
    save_file(weights, folder / UNET)
    reason = refused(str(folder))
    assert "The test picture failed: tiny-diffusion could not be loaded" in reason


def test_weights_that_draw_nothing_fail_at_the_test_picture(folder: Path) -> None:
    save_file(
        {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(folder / UNET).items()}, folder / UNET
    )
    assert "The test picture failed: The network gave values that are not finite" in refused(str(folder))


def test_what_is_refused_is_told_with_the_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds neither" in refused(str(tmp_path))
    assert "no folder" in refused(str(tmp_path / "nowhere"))
    (folder / "run.py").write_text("raise SystemExit", encoding="utf-8")
    assert "run.py is program code" in refused(str(folder), "--json")
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "refused": "checkpoint_unusable",
        "reason": "run.py is program code; only weights and settings are loaded.",
    }
