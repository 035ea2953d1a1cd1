"""Hostile folders: each refused with its reason, nothing of them executed, in little memory and time.

They are looked at in a process of its own, whose memory is limited. `pytest -s` prints what it says of each.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.generation.engines.drawing import change
from tests.generation.engines.hostile import CANARY, HOSTILE, many_tensors

LIMIT = 256 * 1024 * 1024  # of address space; an interpreter that does nothing has about 30 MB
SECONDS = 60  # after which one folder counts as hanging
INSPECT = f"""
import json, resource, signal, sys, time
from generation.engines.errors import EngineError
from generation.engines.inspection import inspect_checkpoint

limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert "torch" not in sys.modules
for folder in sys.argv[2:]:
    signal.alarm({SECONDS})
    began = time.perf_counter()
    try:
        said = ["accepted", repr(inspect_checkpoint(folder))]
    except EngineError as error:
        said = [error.code, error.message, error.hint]
    except BaseException as error:
        said = ["crashed", repr(error)]
    print(json.dumps([*said, round(time.perf_counter() - began, 2)]), flush=True)
"""

Verdict = list[Any]


def inspect(folders: list[Path], limit: int = LIMIT) -> list[Verdict]:
    """What a process of little memory says of each."""
    command = [sys.executable, "-c", INSPECT, str(limit), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(folders), f"it ended at {folders[len(lines)].name}: {done.returncode} {done.stderr[-500:]}"
    return lines


@pytest.fixture(scope="module")
def verdicts(diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Of all of them, by name; and of a sound one."""
    shelf = tmp_path_factory.mktemp("hostile")
    folders = [shutil.copytree(diffusion_folder, shelf / "sound")]
    for name, _, harm in HOSTILE:
        folder = shutil.copytree(diffusion_folder, shelf / re.sub(r"\W+", "-", name))
        harm(folder)
        folders.append(folder)
    found = dict(zip(["sound", *(name for name, _, _ in HOSTILE)], inspect(folders), strict=True))
    found["canary"] = [(shelf / CANARY).exists()]
    return found


@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for name, reason, _ in HOSTILE], ids=lambda text: text[:40]
)
def test_it_is_refused_with_its_reason(verdicts: dict[str, Verdict], name: str, reason: str) -> None:
    code, message, hint, seconds = verdicts[name]
    sys.stdout.write(f"\n{name:<40} {message}  [{seconds} s]")
    assert code == "checkpoint_unusable", message
    assert re.search(reason, message), message
    assert hint
    assert message.isprintable(), "no name from outside may forge lines of a log or terminal"


def test_the_folder_they_are_made_from_is_sound(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["sound"][0] == "accepted"


def test_nothing_was_executed(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["canary"] == [False]


def test_less_memory_would_be_noticed(diffusion_folder: Path, tmp_path: Path) -> None:
    """What memory ran out for counts as crashed: the limit above is a real one."""
    folder = shutil.copytree(diffusion_folder, tmp_path / "mine")
    by_name = {name: harm for name, _, harm in HOSTILE}
    by_name["header of brackets"](folder)
    ((code, said, _),) = inspect([folder], limit=48 * 1024 * 1024)
    assert (code, said) == ("crashed", "MemoryError()")


def test_what_looks_alike_and_is_harmless_is_taken(diffusion_folder: Path, tmp_path: Path) -> None:
    """Words of a vocabulary, values that ask for nothing, and as many tensors as anybody has."""
    folder = shutil.copytree(diffusion_folder, tmp_path / "mine")
    change(folder / "text_encoder/config.json", vocabulary_map={"kernels": 7, "auto_map": 8}, trust_remote_code=False)
    change(folder / "text_encoder/config.json", _attn_implementation="sdpa", quantization_config=None)
    change(folder / "tokenizer/tokenizer_config.json", special_tokens_map_file="/root/.cache/left.json")
    (folder / "tokenizer/chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    (folder / "unet/more.safetensors").write_bytes(many_tensors(90_000))
    ((code, said, _),) = inspect([folder])
    assert code == "accepted", said


def test_the_canary_can_sing(diffusion_folder: Path, tmp_path: Path) -> None:
    """A pickle that is read does make the file, and code that is run does: the test above could fail."""
    folder = shutil.copytree(diffusion_folder, tmp_path / "mine")
    by_name = {name: harm for name, _, harm in HOSTILE}
    by_name["pickle"](folder)
    by_name["remote code"](folder)
    for code in (
        "pickle.load(open('unet/diffusion_pytorch_model.bin', 'rb'))",
        "exec(open('unet/modeling_mine.py').read())",
    ):
        assert not (tmp_path / CANARY).exists()
        subprocess.run([sys.executable, "-c", f"import pickle; {code}"], cwd=folder, check=True)
        assert (tmp_path / CANARY).exists()
        (tmp_path / CANARY).unlink()
