"""`manage.py add_checkpoint FILE` with a real room: a single file is added, drawn with, followed when it changes."""

import json
import shutil
from hashlib import file_digest
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from PIL import Image

from generation.models import Checkpoint
from tests.generation.engines.tiny_single import KINDS, Pair

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return KINDS["sd15"].save(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def file(pair: Pair, tmp_path: Path) -> Path:
    """A copy of its own, with what belongs to it."""
    kept = shutil.ignore_patterns("folder")
    return shutil.copytree(pair.file.parent, tmp_path / "shelf", ignore=kept) / pair.file.name


def test_a_file_is_told_of_drawn_with_and_offered(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("add_checkpoint", str(file), "--title", "Mine", "--json")
    told = json.loads(capsys.readouterr().out)
    found = Checkpoint.objects.get(name="mine")
    assert (found.title, found.path, found.enabled) == ("Mine", str(file), True)
    assert (told["family"], told["class"]) == ("diffusion", "StableDiffusionPipeline")
    assert found.licence == told["licence"] == "ours"
    assert found.capabilities == told["capabilities"] == ["text_to_image", "image_to_image", "inpaint"]
    assert found.sizes == told["sizes"] == [[64, 64]]
    assert set(told["parts"]) == {"unet", "vae", "text_encoder"}
    assert told["weights_bytes"] == sum(sum(types.values()) for types in told["parts"].values()) == found.size_bytes
    assert told["weights_bytes"] < file.stat().st_size < told["disk_bytes"]
    assert told["memory_bytes"]["fp32"] > told["memory_bytes"]["bf16"] > 0
    assert (told["test"]["capability"], told["test"]["size"]) == ("text_to_image", [64, 64])
    with file.open("rb") as stream:
        assert f"{file_digest(stream, 'sha256').hexdigest()}  mine.safetensors\n" in found.manifest
    assert "tokenizer/tokenizer.json" in found.manifest and found.sha256 == told["sha256"]


def test_a_file_draws_without_being_added(file: Path, tmp_path: Path) -> None:
    wish = ("a cat", "--width", "64", "--height", "64", "--steps", "2", "--output", str(tmp_path / "cat.png"))
    call_command("generate", *wish, "--checkpoint", str(file))
    with Image.open(tmp_path / "cat.png") as picture:
        assert picture.size == (64, 64)


def test_a_file_that_needs_nothing_beside_it_has_its_own_sum(file: Path) -> None:
    """Its tokenizer is then CLIP's own, of more words than this text encoder knows, so no picture is drawn."""
    shutil.rmtree(file.parent / "tokenizer")
    file.with_suffix(".tessera.json").unlink()
    call_command("add_checkpoint", str(file), "--no-test")
    with file.open("rb") as stream:
        assert Checkpoint.objects.get(name="mine").sha256 == file_digest(stream, "sha256").hexdigest()


def test_a_pickle_is_refused_whatever_it_is_called(file: Path) -> None:
    for name, words in (("mine.ckpt", "is a pickle"), ("other.safetensors", "is a pickle, which can run code")):
        (pickled := file.with_name(name)).write_bytes(b"\x80\x04K\x01.")
        with pytest.raises(CommandError, match=words):
            call_command("add_checkpoint", str(pickled))
    assert not Checkpoint.objects.exists()
