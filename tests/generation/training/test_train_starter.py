"""`manage.py train_starter` in small: the real command and a real child, a kill, a stop, a folder that draws."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image
from transformers import AutoTokenizer, JanusForConditionalGeneration

from generation.engines.mosaic import Mosaic
from generation.management import trainer
from generation.training import preparing
from generation.training.diffusion import look
from generation.training.errors import TrainingError, is_full
from generation.training.multimodal.batches import prompt_tokens
from generation.training.multimodal.describing import describe
from generation.training.multimodal.drawing import draw
from generation.training.multimodal.heads import ALL
from generation.training.multimodal.looking import instruction_tokens, stack_pictures
from generation.training.reports import Report
from generation.training.state import State

ROOT = Path(__file__).resolve().parents[3]
SMALL = (sys.executable, "-m", "tests.generation.training.small_door")
STEPS = {"diffusion": 36, "multimodal": 16}
# Each stage's mean loss of the last 10 steps, in shares of that of the first 5. Not the decoder's: it goes on from what
# the autoencoder has learned, and so few steps more are lost in what the pictures by lot make of it.
FALLS = {
    "diffusion": {"autoencoder": 0.85, "denoiser": 0.9},
    "multimodal": {"draw": 0.7, "see": 0.8, "follow": 0.85},
}


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The command's child is the small trainer; call it for the child's process id."""
    told = tmp_path / "pid"
    monkeypatch.setattr(trainer, "DOOR", SMALL)
    monkeypatch.setenv("TELL_PID", str(told))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'platform'}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return lambda: int(told.read_text())


def soon(ready: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Act as soon as it is ready, from another thread."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while not ready() and time.monotonic() < deadline:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def state_of(folder: Path, starter: str) -> State:
    state = State.load(folder / f"{starter}-starter")
    assert state is not None
    return state


@pytest.mark.processes
@pytest.mark.parametrize("starter", ["diffusion", "multimodal"])
def test_it_learns_goes_on_after_a_kill_and_leaves_a_folder_that_draws(
    starter: str, tmp_path: Path, child: Callable[[], int]
) -> None:
    folder, output = tmp_path / f"{starter}-starter", tmp_path / "out"
    middle = {"diffusion": "denoiser", "multimodal": "see"}[starter]
    wish = {"steps": STEPS[starter], "minutes": 1.0, "threads": 1, "folder": str(tmp_path), "output": str(output)}

    def in_the_middle() -> bool:
        return (folder / "course.json").exists() and state_of(tmp_path, starter).of(middle).steps >= 2

    killer = soon(in_the_middle, lambda: os.kill(child(), signal.SIGKILL))
    with pytest.raises(CommandError, match=r"killed \(signal 9\)") as caught:
        call_command("train_starter", starter, **wish)
    killer.join()
    assert caught.value.returncode == 1
    assert not output.exists()
    before = state_of(tmp_path, starter)
    first = next(iter(before.stages.values()))

    call_command("train_starter", starter, resume=True, **wish)
    after = state_of(tmp_path, starter)
    assert len(after.stages) == 3 and all(stage.done for stage in after.stages.values())
    assert all(stage.steps == STEPS[starter] for stage in after.stages.values())
    assert first in after.stages.values(), "what was done is not done again"
    for name, share in FALLS[starter].items():
        stage = after.stages[name]
        assert stage.loss < share * stage.first, (name, stage)
    {"diffusion": paint_with_stock, "multimodal": draw_with_stock}[starter](output)
    card = (output / "README.md").read_text()
    assert card.startswith("---\nlicense: ") and "Copyright (c) Microsoft Corporation" in card
    assert "| one object | " in card and "## Learning curve" in card
    with Image.open(output / "contact-sheet.png") as sheet:
        assert sheet.width > 8 * 128


def paint_with_stock(output: Path) -> None:
    assert look.paint(look.load(output), ["a dog"], num_inference_steps=2)[0].size == (128, 128)


def draw_with_stock(output: Path) -> None:
    text = json.loads((output / "config.json").read_text())["text_config"]
    assert text["num_attention_heads"] == ALL and text["hidden_size"] % ALL == 0
    model = JanusForConditionalGeneration.from_pretrained(output, dtype=torch.float32, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(output, local_files_only=True)
    mosaic = Mosaic.load(output)
    codes = draw(model, mosaic, [prompt_tokens(tokenizer, "dog on blue")])
    picture = mosaic.decode(codes[0].tolist())
    assert picture.shape == (128, 128, 3)
    shown = stack_pictures([picture])
    edited = draw(model, mosaic, [instruction_tokens(tokenizer, "remove the dog")], pictures=shown)
    assert mosaic.decode(edited[0].tolist()).shape == (128, 128, 3)
    assert len(describe(model, tokenizer, shown)) == 1


@pytest.fixture
def trial(tmp_path: Path, child: Callable[[], int]) -> Iterator["subprocess.Popen[str]"]:
    """The child alone, with its leash in our hand."""
    words = [*SMALL, "multimodal", "--steps", "100000", "--folder", str(tmp_path), "--reports"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        yield process
        process.kill()


@pytest.mark.processes
def test_without_its_command_it_saves_and_ends_and_a_full_disk_is_a_sentence(
    trial: "subprocess.Popen[str]", tmp_path: Path, child: Callable[[], int]
) -> None:
    assert trial.stdin is not None and trial.stdout is not None
    for line in trial.stdout:
        report = Report.from_line(line)
        if report is not None and report.step >= 2:
            break
    trial.stdin.close()
    last = Report.from_line(trial.stdout.readlines()[-1])
    assert last is not None and (last.kind, last.exit_code) == ("stopped", 130)
    assert trial.wait() == 130
    steps = state_of(tmp_path, "multimodal").of("draw").steps
    checkpoint = tmp_path / "multimodal-starter" / "draw" / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["step"] == steps >= 2

    checkpoint.with_suffix(".part").symlink_to("/dev/full")
    with pytest.raises(CommandError, match="No room is left on the disk .* go on with --resume") as caught:
        call_command("train_starter", "multimodal", folder=str(tmp_path), resume=True)
    assert caught.value.returncode == 1
    assert torch.load(checkpoint, weights_only=True)["step"] == steps
    assert not checkpoint.with_suffix(".part").is_symlink()

    with pytest.raises(CommandError, match="holds a training that was begun before") as caught:
        call_command("train_starter", "multimodal", folder=str(tmp_path))
    assert caught.value.returncode == 2


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Report("stopped", "Stopped and saved.", exit_code=130).to_line()
    waits = f"import sys; print('no report', flush=True); sys.stdin.read(); print({stopped!r})"
    monkeypatch.setattr(trainer, "DOOR", (sys.executable, "-c", waits))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        interrupter = soon(lambda: time.sleep(1) or True, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(CommandError, match=r"Stopped and saved\. Go on: .* diffusion --resume --folder") as caught:
            call_command("train_starter", "diffusion", folder=str(tmp_path))
        interrupter.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.returncode == 130


def test_what_is_missing_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="npm is missing. Install Node.js") as caught:
        preparing.build_world(tmp_path / "cache")
    assert caught.value.exit_code == 2
    monkeypatch.setitem(sys.modules, "generation.training.world", None)
    with pytest.raises(TrainingError, match=r"is missing. Install it: .*\[training\]") as caught:
        preparing.build_world(tmp_path / "cache")
    assert caught.value.exit_code == 2
    monkeypatch.undo()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is unreachable' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(TrainingError, match="could not fetch the icons: npm error network") as caught:
        preparing.build_world(tmp_path / "cache")
    assert caught.value.exit_code == 1


def test_only_a_checkpoint_is_replaced(tmp_path: Path) -> None:
    training, mine = tmp_path / "training", tmp_path / "mine"
    mine.mkdir()
    preparing.require_replaceable(mine, training)
    (mine / "notes.txt").write_text("mine")
    for output in (mine, mine / "notes.txt", training, tmp_path):
        with pytest.raises(TrainingError, match="Give --output a folder"):
            preparing.require_replaceable(output, training)
    (mine / "model_index.json").write_text("{}")
    preparing.require_replaceable(mine, training)


def test_one_trainer_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "LOCK_SECONDS", 0.0)
    with (
        preparing.training_folder(tmp_path),
        pytest.raises(TrainingError, match="A training runs in"),
        preparing.training_folder(tmp_path),
    ):
        pass


def test_a_broken_state_is_told_and_errors_are_read(tmp_path: Path) -> None:
    assert State.load(tmp_path) is None
    (tmp_path / "course.json").write_text(json.dumps({"starter": "diffusion"}))
    with pytest.raises(TrainingError, match="begin anew"):
        State.load(tmp_path)
    assert is_full(RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"))
    assert not is_full(RuntimeError("out of ideas"))
    assert Report.from_line("Loading weights: 100%") is None
