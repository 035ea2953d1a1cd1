"""Checkpoints: registered from real tiny folders, refused with the reason, followed when they move."""

import shutil
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from generation.models import Checkpoint
from generation.services import checkpoints
from generation.services.checkpoints import (
    CheckpointRefusedError,
    checkpoint_disable,
    checkpoint_enable,
    checkpoint_learn,
    checkpoint_register,
    checkpoint_rename,
    starters_register,
)
from tests.generation.engines.tiny import save_mosaic

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint."""
    return save_mosaic(tmp_path_factory.mktemp("shelf") / "Tiny Mosaic")


def test_a_folder_becomes_a_checkpoint(folder: Path) -> None:
    found = checkpoint_register(path=folder, title="Tiny", description="Noise.")
    assert (found.name, found.title, found.family, found.enabled) == ("tiny-mosaic", "Tiny", "multimodal", True)
    assert found.sizes == [[32, 32]]
    assert found.size_bytes > 0
    again = checkpoint_register(path=folder)
    assert (again.pk, again.title, again.description) == (found.pk, "Tiny", "Noise.")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointRefusedError, match="no folder"):
        checkpoint_register(path=tmp_path / "nowhere")
    with pytest.raises(CheckpointRefusedError, match="model_index"):
        checkpoint_register(path=tmp_path)
    assert not Checkpoint.objects.exists()


def test_one_that_was_switched_off_can_be_switched_on_again(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    found = checkpoint_register(path=copy)
    checkpoint_disable(checkpoint=found, reason="It is corrupt.")
    found.refresh_from_db()
    assert (found.enabled, found.disabled_reason) == (False, "It is corrupt.")
    assert [line.levelname for line in caplog.records if "switched off" in line.message] == ["WARNING"]
    assert checkpoint_enable(checkpoint=found).enabled
    shutil.rmtree(copy)
    with pytest.raises(CheckpointRefusedError):
        checkpoint_enable(checkpoint=found)


def test_the_time_of_a_picture_is_learnt(folder: Path) -> None:
    found = checkpoint_register(path=folder)
    for seconds in (10.0, 20.0):
        checkpoint_learn(checkpoint=found, seconds=seconds)
    found.refresh_from_db()
    assert found.seconds_per_picture == 13.0


def test_starters_are_followed_and_left_switched_off(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "old" / "multimodal")
    shutil.copytree(folder, tmp_path / "new" / "multimodal")
    monkeypatch.setattr(checkpoints, "STARTERS", tmp_path / "old")
    (starter,) = starters_register()  # the other folder is missing: told in the log, no reason to stop
    assert (starter.name, starter.is_starter) == ("starter-multimodal", True)
    checkpoint_rename(checkpoint=starter, title="Ours", description="For the team.")
    (renamed,) = starters_register()
    assert (renamed.title, renamed.description) == ("Ours", "For the team.")
    checkpoint_disable(checkpoint=starter, reason="An operator did this.")
    (same,) = starters_register()
    assert not same.enabled
    monkeypatch.setattr(checkpoints, "STARTERS", tmp_path / "new")
    (moved,) = starters_register()
    assert (moved.pk, moved.enabled, moved.path) == (starter.pk, True, str(tmp_path / "new" / "multimodal"))


def test_the_command_says_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("add_checkpoint", str(folder), "--name", "noise", "--title", "Noise")
    said = capsys.readouterr().out
    assert "Noise is ready, as noise." in said
    assert "32x32" in said


def test_the_command_says_why_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds neither"):
        call_command("add_checkpoint", str(tmp_path))
