"""Checkpoints: registered from real tiny folders, refused with the reason, followed when they move."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from generation.engines.errors import CheckpointError
from generation.engines.fingerprint import Sums
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


def test_a_starter_that_an_update_changed_is_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the portal ran: the room found other files, and switched it off."""
    place = shutil.copytree(folder, tmp_path / "multimodal")
    monkeypatch.setattr(checkpoints, "STARTERS", tmp_path)
    (starter,) = starters_register()
    (place / "README.md").write_text("Newer.", encoding="utf-8")
    with pytest.raises(CheckpointError) as caught:
        Sums().verify(starter.spec())
    checkpoint_disable(checkpoint=starter, reason=caught.value.message)
    (again,) = starters_register()
    assert (again.pk, again.enabled, again.disabled_reason) == (starter.pk, True, "")
    Sums().verify(again.spec())


def test_what_changed_is_accepted_by_adding_it_again_only(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    first = checkpoint_register(path=copy, precision="fp32")
    assert (len(first.sha256), first.precision) == (64, "fp32")
    assert "model.safetensors" in first.manifest
    assert (first.spec().sha256, first.spec().manifest, first.spec().precision) == (
        first.sha256,
        first.manifest,
        "fp32",
    )
    (copy / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    checkpoint_disable(checkpoint=first, reason="Its files changed.")
    enabled = checkpoint_enable(checkpoint=first)
    assert (enabled.enabled, enabled.sha256) == (True, first.sha256)
    again = checkpoint_register(path=copy)
    assert (again.licence, again.precision) == ("mit", "fp32")
    assert again.sha256 != first.sha256


def test_an_operator_sees_the_facts_and_chooses_the_precision(
    folder: Path, tmp_path: Path, olga: User, login: Callable[[User], Client]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    found, page = checkpoint_register(path=copy), login(olga)
    address = reverse("admin:generation_checkpoint_change", args=[found.pk])
    text = page.get(address).content.decode()
    assert all(words in text for words in (found.sha256[:16], "network: ", "MB F32", "not stated"))
    page.post(address, {"title": "Tiny", "description": "", "precision": "bf16"})
    found.refresh_from_db()
    assert (found.title, found.precision, found.spec().precision) == ("Tiny", "bf16", "bf16")
    assert AuditEvent.objects.filter(verb="checkpoint.precision", target_id=str(found.pk)).exists()
    (copy / "model.safetensors").write_bytes(b"short")
    assert "are damaged" in page.get(address).content.decode()
