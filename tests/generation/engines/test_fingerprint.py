"""Sums of a checkpoint's files: anyone can make them again, every change is named, nothing is read twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from generation.engines import fingerprint
from generation.engines.device import Device
from generation.engines.errors import CheckpointError
from generation.engines.fingerprint import Sums
from generation.engines.fragments import LOADING, Note
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(diffusion_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(diffusion_folder, tmp_path / "mine")


def spec_of(folder: Path) -> CheckpointSpec:
    """As it is registered."""
    found = Sums().of(folder)
    return CheckpointSpec("mine", str(folder), "diffusion", sha256=found.sha256, manifest=found.manifest)


def flip(file: Path) -> None:
    """Another last byte, with the old length and the old time."""
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum, to make the sums another way")
def test_the_shell_makes_the_same_sums(folder: Path) -> None:
    found = Sums().of(folder)
    listed = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum"
    lines = subprocess.run(["sh", "-c", listed], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert found.manifest == lines
    whole = subprocess.run(["sha256sum"], input=lines, capture_output=True, text=True, check=True).stdout
    assert found.sha256 == whole.split()[0]
    one = subprocess.run(["sha256sum", WEIGHTS], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert Sums().of(folder / WEIGHTS).sha256 == one.split()[0]


def test_every_change_is_named(folder: Path) -> None:
    spec, sums = spec_of(folder), Sums()
    sums.verify(spec)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(CheckpointError, match="notes.txt is new"):
        sums.verify(spec)
    (folder / "notes.txt").unlink()
    (folder / "vae/config.json").rename(folder / "vae/other.json")
    with pytest.raises(CheckpointError, match="vae/config.json is gone"):
        sums.verify(spec)
    (folder / "vae/other.json").rename(folder / "vae/config.json")
    flip(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} has changed") as caught:
        sums.verify(spec)
    assert "add_checkpoint" in caught.value.hint
    sums.verify(spec_of(folder))


def test_one_file_is_checked_too(folder: Path) -> None:
    spec = spec_of(folder / WEIGHTS)
    Sums().verify(spec)
    flip(folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="has changed"):
        Sums().verify(spec)


def test_what_operating_systems_drop_is_no_change(folder: Path) -> None:
    spec = spec_of(folder)
    (folder / "unet/.DS_Store").write_bytes(b"view")
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref", encoding="utf-8")
    Sums().verify(spec)


def test_nothing_is_read_twice_unless_it_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, sums, really = list[str](), Sums(), fingerprint._read
    monkeypatch.setattr(fingerprint, "_read", lambda file, progress: read.append(file.name) or really(file, progress))
    first = sums.of(folder)
    assert len(read) == len(first.manifest.splitlines()) > 5
    read.clear()
    assert sums.of(folder) == first
    assert read == []
    flip(folder / WEIGHTS)
    assert sums.of(folder) != first
    assert read == [Path(WEIGHTS).name]


def test_progress_is_told_up_to_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "TELL_SECONDS", 0)
    told = list[tuple[int, int]]()
    Sums().of(folder, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_the_room_reads_no_weights_that_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "TELL_SECONDS", 0)
    notes = list[Note]()
    manager, spec = MemoryManager(Device("cpu"), tell=notes.append), spec_of(folder)
    with manager.acquire(spec) as engine:
        assert engine.size_bytes() > 0
    assert any(note.kind == LOADING and "Checking the files of mine" in note.message for note in notes)
    flip(folder / WEIGHTS)
    manager.purge("a test")
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} has changed"), manager.acquire(spec):
        pass
    assert manager.resident == ()
    with manager.acquire(spec_of(folder)):
        pass
