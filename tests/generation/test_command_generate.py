"""`manage.py generate` as a person calls it: another process, no database, no web."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from django.core.management import CommandError
from PIL import Image

from generation.engines.encoding import recipe_of
from generation.engines.params import MAX_COUNT
from generation.management.commands.generate import Command
from generation.management.wish import find_checkpoint, read_wish
from generation.models import Checkpoint
from tests.generation.engines import tiny

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_mosaic(tmp_path_factory.mktemp("tiny-mosaic"))


def command(data: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "TESSERA_DATA": str(data), "TESSERA_THREADS": "1", "TESSERA_DEVICE": "cpu"}
    return [sys.executable, str(ROOT / "manage.py"), "generate", *arguments], environment


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Call the command in an empty folder with an empty data folder."""

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line, environment = command(tmp_path / "data", *arguments)
        return subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


def options(**changes: object) -> dict[str, object]:
    """What the command's parser gives."""
    parser = Command().create_parser("manage.py", "generate")
    return {**vars(parser.parse_args(["a cat on white"])), **changes}


@pytest.mark.processes
def test_it_draws_the_same_bytes_writes_fragments_and_prints_figures(run: Run, folder: Path, tmp_path: Path) -> None:
    wish = ["a cat on white", "--checkpoint", str(folder), "--seed", "7", "--temperature", "0.5"]
    first = run(*wish, "--output", "cat.png", "--fragments", "seen/here", "--json")
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    figures = json.loads(first.stdout)
    assert figures["files"] == ["cat.png"]
    assert figures["total_seconds"] >= figures["first_fragment_seconds"] >= figures["load_seconds"] > 0
    assert figures["peak_memory_bytes"] > 0
    assert (figures["device"], figures["checkpoint"], figures["seed"]) == ("cpu", folder.name, 7)

    seen = sorted((tmp_path / "seen" / "here").iterdir())
    assert len(seen) == figures["fragments"] >= 8
    assert [file.name[:4] for file in seen] == [f"{number:04}" for number in range(1, len(seen) + 1)]
    with Image.open(seen[0]) as fragment:
        assert fragment.format == "WEBP"

    second = run(*wish, "--output", "pets.png", "--count", "2")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("pets-1.png, pets-2.png: load ")
    assert "first fragment" in second.stdout
    assert "peak memory" in second.stdout
    cat, other = (tmp_path / "cat.png").read_bytes(), (tmp_path / "pets-2.png").read_bytes()
    assert (tmp_path / "pets-1.png").read_bytes() == cat
    recipe = recipe_of(cat)
    assert recipe is not None
    assert (recipe["prompt"], recipe["seed"], recipe["temperature"]) == ("a cat on white", 7, 0.5)
    assert recipe["guidance"] == 2.0, "the checkpoint's own default is written out"
    assert (recipe_of(other) or {})["seed"] == 8
    with Image.open(BytesIO(cat)) as picture:
        assert picture.size == (32, 32)
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.processes
def test_ctrl_c_cancels_cleanly(folder: Path, tmp_path: Path) -> None:
    line, environment = command(
        tmp_path / "data", "a cat", "--checkpoint", str(folder), "--count", str(MAX_COUNT), "--fragments", "seen"
    )
    with subprocess.Popen(
        line, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.glob("seen/*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "CommandError: Canceled.\n")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"count": 9}, "count is 9; use 1 to 4"),
        ({"steps": 0}, "steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"width": 48}, "cannot draw 48x32; it can draw 32x32"),
        ({"image": "/nowhere/cat.png"}, "cannot be read"),
        ({"image": __file__}, "cannot do image_to_image"),
        ({"output": "/nowhere/cat.png"}, "cannot be written"),
        ({"checkpoint": "unheard-of"}, "no checkpoint 'unheard-of'"),
        ({"checkpoint": "/nowhere"}, "no folder /nowhere"),
        ({"checkpoint": str(ROOT / "docs")}, "neither model_index.json nor config.json"),
    ],
)
@pytest.mark.django_db
def test_a_wrong_wish_is_refused_before_a_room_opens(changes: dict[str, object], words: str, folder: Path) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        read_wish(options(**{"checkpoint": str(folder), **changes}))
    assert caught.value.returncode == 2


@pytest.mark.django_db
def test_registered_names_are_found_unless_switched_off(folder: Path) -> None:
    made = Checkpoint.objects.create(name="ours", title="Ours", family="multimodal", path=str(folder))
    spec, facts = find_checkpoint("ours")
    assert (spec.name, spec.path, spec.family) == ("ours", str(folder), facts.family)
    Checkpoint.objects.update(enabled=False, disabled_reason="It is being repaired.")
    with pytest.raises(CommandError, match=r"'ours' is switched off: It is being repaired\."):
        find_checkpoint(made.name)


@pytest.mark.processes
def test_a_wrong_word_is_a_sentence_without_a_traceback(run: Run) -> None:
    done = run("a cat", "--checkpoint", "unheard-of")
    assert done.returncode == 2
    assert done.stderr.startswith("CommandError: There is no checkpoint 'unheard-of'. Use starter-diffusion")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
