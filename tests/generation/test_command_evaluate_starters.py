"""`manage.py evaluate_starters` as a person calls it: real starters, the real room, the world by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from generation.evaluation.bars import FAMILIES, TITLES
from generation.evaluation.preparing import WorldUnavailableError, build_world
from generation.training.world import training_dir

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / training_dir() / "cache"


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TESSERA_DATA": str(folder / "data")}
    command = [sys.executable, str(ROOT / "manage.py"), "evaluate_starters", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.processes
def test_a_small_run_says_everything_in_its_last_line(tmp_path: Path) -> None:
    try:
        build_world(CACHE)
    except WorldUnavailableError as error:
        pytest.skip(f"not run: {error}")
    done = run(tmp_path, "--prompts", "4", "--threads", "1", "--json")
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["prompts"], told["seed"], told["threads"]) == (4, 1, 1)
    assert done.returncode == (0 if told["met"] else 1), done.stderr
    assert set(told["families"]) == set(FAMILIES)
    for family, found in told["families"].items():
        assert set(found["tasks"]) == set(TITLES)
        assert found["tasks"]["one"]["value"] >= 0.5 and found["tasks"]["ground"]["value"] >= 0.75, found
        assert found["tasks"]["seconds"]["value"] >= found["first_fragment_seconds"] > 0
        assert found["size_bytes"] > 1_000_000 and found["device"] == "cpu"
        assert f"starter-{family}: two, 4 done" in done.stderr
    assert told["families"]["diffusion"]["tasks"]["describe"]["value"] is None
    assert "background colour right" in done.stdout
    assert not (tmp_path / "data" / "training").exists(), "the world is kept in the checkout"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompts", "0"], "at least one prompt"),
        (["--diffusion", "generation/starter/multimodal"], "is of the family multimodal, not diffusion"),
        (["--multimodal", "/nowhere"], "There is no folder /nowhere"),
    ],
)
def test_a_wrong_wish_is_a_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "generation").symlink_to(ROOT / "generation")
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.processes
def test_the_command_itself_never_loads_torch() -> None:
    code = (
        "import sys, django; django.setup(); import generation.management.commands.evaluate_starters; "
        "print([name for name in ('torch', 'diffusers', 'transformers', 'resvg_py') if name in sys.modules])"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
