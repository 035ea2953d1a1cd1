"""`manage.py generate` as a person calls it: another process, no database, no web."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError
from PIL import Image

import generation
from generation.engines.base import CancelToken
from generation.engines.fragments import Kind, Words
from generation.engines.mosaic import Mosaic, blend
from generation.engines.params import MAX_COUNT, GenerationParams
from generation.engines.protocol import EncodedFragment
from generation.engines.provenance import recipe_of
from generation.management.commands.generate import Command, write
from generation.management.wish import find_checkpoint, read_wish
from generation.models import Checkpoint
from tests.generation.engines import tiny, tiny_lora
from tests.generation.engines.drawing import loaded, pictures, png

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FINAL = EncodedFragment(Kind.FINAL, 0, 0, 0, 0, 32, 32, 32, 32, 2, 2, 7, b"", precision="bf16", memory="sliced")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_mosaic(tmp_path_factory.mktemp("tiny-mosaic"))


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_looking(tmp_path_factory.mktemp("tiny-looking"))


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

    mine = tmp_path / "seen" / "here" / "notes.txt"
    mine.write_text("Not a fragment.", encoding="utf-8")
    (mine.parent / "0099-picture-4-preview-3.webp").write_bytes(b"of an earlier run")
    (tmp_path / "pets-1.png").symlink_to("elsewhere.png")
    second = run(*wish, "--output", "pets.png", "--count", "2", "--fragments", "seen/here")
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
    assert (tmp_path / "elsewhere.png").is_file(), "a link stays a link"
    again = sorted(file.name for file in mine.parent.iterdir())
    assert len(again) == 2 * len(seen) + 1
    assert "notes.txt" in again and "0099-picture-4-preview-3.webp" not in again


STARTERS = Path(generation.__file__).parent / "starter"


@pytest.mark.processes
@pytest.mark.parametrize("name", ["diffusion", "multimodal"])
def test_a_starter_draws_the_same_bytes_in_two_processes(run: Run, name: str, tmp_path: Path) -> None:
    wish = ["a cat left of a pizza on blue", "--checkpoint", f"starter-{name}", "--seed", "11"]
    wish += ["--steps", "6"] if name == "diffusion" else ["--temperature", "0"]
    for file in ("first.png", "second.png"):
        done = run(*wish, "--output", file)
        assert done.returncode == 0, done.stderr
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "second.png").read_bytes()
    with Image.open(BytesIO(first)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (128, 128, 3)
    if name == "multimodal":
        shows_two_things_on_blue(pixels)


def shows_two_things_on_blue(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
    """Every place is a tile of the mosaic over blue, and there is a thing on the left and a thing on the right."""
    mosaic = Mosaic.load(STARTERS / "multimodal")
    ground, side = mosaic.names.index("blue"), mosaic.tile_side
    known = {tile.tobytes() for tile in blend(mosaic.tiles, mosaic.grounds[ground])}
    rows, columns = mosaic.grid
    places = pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    assert all(places[row, column].tobytes() in known for row in range(rows) for column in range(columns))
    filled = np.array([[(tile != mosaic.grounds[ground]).any() for tile in line] for line in places])
    assert filled[:, : columns // 2].sum() >= 4 and filled[:, columns // 2 :].sum() >= 4
    assert not filled.all(), "the ground is seen"


def listen_to_ctrl_c() -> None:
    """A child of a shell's background job begins deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.processes
def test_what_does_not_fit_is_told_with_figures(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_MEMORY_BUDGET_MB", "1")
    done = run("a cat", "--checkpoint", str(folder))
    assert done.returncode == 1
    assert re.search(r"needs \d+ MB for 32x32, this device gives 0 MB\. Choose a smaller checkpoint", done.stderr)


@pytest.mark.processes
def test_ctrl_c_cancels_cleanly(tmp_path: Path) -> None:
    slow = ["--checkpoint", "starter-diffusion", "--steps", "150", "--count", str(MAX_COUNT)]
    line, environment = command(tmp_path / "data", "a cat", *slow, "--fragments", "seen")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        line, env=environment, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, preexec_fn=listen_to_ctrl_c
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
        ({"steps": 0}, "does not use --steps. It uses --guidance, --temperature"),
        ({"negative": "dogs"}, "does not use --negative"),
        ({"scheduler": "ddim"}, "does not use --scheduler"),
        ({"strength": 0.5}, "does not use --strength"),
        ({"temperature": 9.0}, "temperature is 9"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"prompt": "cat " * 1001}, "prompt has 4,004 characters; 4,000 is the most"),
        ({"prompt": "a \udcff cat"}, "prompt holds half a character"),
        ({"seed": -1}, "seed is -1"),
        ({"width": 48}, "cannot draw 48x32; it can draw 32x32"),
        ({"image": "/nowhere/cat.png"}, "cannot be read: there is no such file"),
        ({"image": "/dev/zero"}, "cannot be read: it is no ordinary file"),
        ({"image": "/"}, "cannot be read: it is no ordinary file"),
        ({"image": __file__}, "cannot start from a picture"),
        ({"image": __file__, "describe": True}, "cannot describe pictures; it can draw from words alone"),
        ({"describe": True}, "Describe needs a picture"),
        ({"image": __file__, "describe": True, "temperature": 1.0}, "description does not use --temperature"),
        ({"image": __file__, "describe": True, "count": 2}, "described once at a time"),
        ({"output": "/nowhere/cat.png"}, "cannot be written: give a file in a folder that exists"),
        ({"output": "", "count": 2}, "cannot be written: give a file"),
        ({"output": "/dev/null"}, "/dev/null cannot be written: it is no ordinary file"),
        ({"output": "cat.jpg"}, r"cat\.jpg cannot be written: .* must end in \.png"),
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
def test_what_the_wish_names_is_looked_at_before_it_is_opened(folder: Path, tmp_path: Path) -> None:
    link, pipe, huge = tmp_path / "null.png", tmp_path / "pipe.png", tmp_path / "huge.png"
    link.symlink_to("/dev/null")
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(21 * 1024 * 1024)
    for changes, words in (
        ({"output": str(link)}, "no ordinary file"),
        ({"image": str(pipe)}, "no ordinary file"),
        ({"image": str(huge)}, "it has 21 MB and 20 MB is the most"),
    ):
        with pytest.raises(CommandError, match=words):
            read_wish(options(checkpoint=str(folder), **changes))
    (tmp_path / "pets-2.png").mkdir()
    with pytest.raises(CommandError, match=r"pets-2\.png cannot be written"):
        read_wish(options(checkpoint=str(folder), output=str(tmp_path / "pets.png"), count=2))


@pytest.mark.django_db
def test_a_strength_needs_a_picture(tmp_path: Path) -> None:
    diffusion = tiny.save_diffusion(tmp_path / "diffusion")
    with pytest.raises(CommandError, match="--strength needs a picture"):
        read_wish(options(checkpoint=str(diffusion), strength=0.5))
    with pytest.raises(CommandError, match="does not use --temperature. It uses --negative, --steps"):
        read_wish(options(checkpoint=str(diffusion), temperature=1.0))
    recipe = read_wish(options(checkpoint=str(diffusion))).recipe(FINAL)
    assert recipe["steps"] == 25
    assert not {"strength", "temperature", "scheduler", "loras"} & recipe.keys(), "they changed nothing"
    chosen = read_wish(options(checkpoint=str(diffusion), scheduler="euler_a"))
    assert (chosen.params.scheduler, chosen.recipe(FINAL)["scheduler"]) == ("euler_a", "euler_a")
    with pytest.raises(CommandError, match="no scheduler 'best'. Known are ddim,"):
        read_wish(options(checkpoint=str(diffusion), scheduler="best"))
    with pytest.raises(CommandError, match="cannot use the scheduler 'euler_flow'. It can use ddim,"):
        read_wish(options(checkpoint=str(diffusion), scheduler="euler_flow"))
    source = tmp_path / "cat.png"
    Image.new("RGB", (32, 32)).save(source)
    assert read_wish(options(checkpoint=str(diffusion), image=str(source))).recipe(FINAL)["strength"] == 0.6
    assert (recipe["precision"], recipe["memory"]) == ("bf16", "sliced")


@pytest.mark.processes
def test_it_edits_and_describes(run: Run, looking: Path, tmp_path: Path) -> None:
    (tmp_path / "from.png").write_bytes(png(pictures()[0]))
    wish = ["--image", "from.png", "--checkpoint", str(looking)]
    done = run("a cat", *wish, "--seed", "7", "--output", "edited.png", "--json")
    assert done.returncode == 0, done.stderr
    assert "text" not in json.loads(done.stdout)
    recipe = recipe_of((tmp_path / "edited.png").read_bytes()) or {}
    assert (recipe["capability"], recipe["prompt"], recipe["seed"]) == ("edit", "a cat", 7)

    engine = loaded(looking, "multimodal")
    params = GenerationParams("a cat", 32, 32, 0, capability="describe", source=png(pictures()[0]))
    *_, said = (item for item in engine.generate(params, CancelToken()) if isinstance(item, Words))
    told = run("a cat", "--describe", *wish)
    assert (told.returncode, told.stdout, told.stderr) == (0, f"{said.text}\n", "")
    report = json.loads(run("a cat", "--describe", *wish, "--json").stdout)
    assert (report["text"], report["files"], report["checkpoint"]) == (said.text, [], looking.name)
    assert run("--describe", *wish).returncode == 0, "the question may be left out"
    assert sorted(file.name for file in tmp_path.glob("*.png")) == ["edited.png", "from.png"]


@pytest.mark.django_db
def test_who_cannot_edit_or_describe_refuses_and_who_can_gets_the_default(looking: Path, tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    source.write_bytes(png(pictures()[0]))
    asked = options(checkpoint=str(looking), image=str(source))
    assert read_wish(asked).params.capability == "edit"
    with pytest.raises(CommandError, match="does not use --strength"):
        read_wish({**asked, "strength": 0.5})
    with pytest.raises(CommandError, match="prompt is empty"):
        read_wish({**asked, "prompt": ""})
    assert read_wish({**asked, "prompt": "", "describe": True}).params.capability == "describe"
    for option, value in {"seed": 0, "width": 32, "height": 32, "output": "x.png", "fragments": "seen"}.items():
        with pytest.raises(CommandError, match=f"A description does not use --{option}. Leave it out."):
            read_wish({**asked, "describe": True, option: value})
    diffusion = tiny.save_diffusion(tmp_path / "diffusion")
    with pytest.raises(CommandError, match="cannot describe pictures") as caught:
        read_wish(options(checkpoint=str(diffusion), image=str(source), describe=True))
    assert caught.value.returncode == 2
    assert read_wish(options(checkpoint=str(diffusion), image=str(source))).params.capability == "image_to_image"


def test_a_full_disk_is_told_with_the_name_of_the_picture(tmp_path: Path) -> None:
    (tmp_path / ".cat.png.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write(tmp_path / "cat.png", bytes(10_000))
    assert caught.value.filename == str(tmp_path / "cat.png")
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.django_db
def test_loras_are_named_by_file_and_weight_and_told_in_the_recipe(tmp_path: Path) -> None:
    diffusion = tiny.save_diffusion(tmp_path / "diffusion")
    file = tiny_lora.save_lora(tmp_path / "ink:2.safetensors", diffusion)
    wish = read_wish(options(checkpoint=str(diffusion), lora=[str(file), f"{file}:0.5"]))
    assert [(lora.name, lora.path, lora.weight) for lora in wish.params.loras] == [
        ("ink:2", str(file), 1.0),
        ("ink:2", str(file), 0.5),
    ]
    total = hashlib.sha256(file.read_bytes()).hexdigest()
    assert wish.recipe(FINAL)["loras"][1] == {"name": "ink:2", "weight": 0.5, "sha256": total}
    for given, words in {
        f"{file}:loud": "weight is 'loud', which is no number",
        f"{file}:9": "lora weight is 9.0; use -4 to 4",
        str(tmp_path / "gone.safetensors"): "There is no LoRA file",
        str(diffusion / "unet" / "diffusion_pytorch_model.safetensors"): "holds no LoRA",
    }.items():
        with pytest.raises(CommandError, match=words):
            read_wish(options(checkpoint=str(diffusion), lora=[given]))


@pytest.mark.django_db
def test_a_checkpoint_that_takes_no_loras_says_so(folder: Path, tmp_path: Path) -> None:
    file = tiny_lora.save_lora(tmp_path / "ink.safetensors", tiny.save_diffusion(tmp_path / "diffusion"))
    with pytest.raises(CommandError, match="takes no LoRAs"):
        read_wish(options(checkpoint=str(folder), lora=[str(file)]))


@pytest.mark.django_db
def test_a_mask_needs_a_picture(tmp_path: Path) -> None:
    diffusion = tiny.save_diffusion(tmp_path / "diffusion")
    mask = tmp_path / "mask.png"
    Image.new("L", (32, 32)).save(mask)
    with pytest.raises(CommandError, match="--mask needs a picture to repaint a part of"):
        read_wish(options(checkpoint=str(diffusion), mask=str(mask)))
    with pytest.raises(CommandError, match="there is no such file"):
        read_wish(options(checkpoint=str(diffusion), mask="gone.png", image=str(mask)))
