"""Admission at the front door: refused with figures before anything waits, by what the device last told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from generation.engines.admission import OTHER
from generation.engines.footprint import Footprint, learnt_key
from generation.engines.ledger import Ledger
from generation.engines.plan import Plan
from generation.engines.protocol import Figures, RoomStatus
from generation.models import Checkpoint, Device, GenerationRequest, Project
from generation.services import footprints
from generation.services.admission import DoesNotFitError
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_beat, device_ensure, device_set_limits
from generation.services.footprints import footprint_forget, footprint_known, footprint_learn
from generation.services.requests import request_cancel, request_retry
from tests.generation.engines.tiny import save_diffusion, save_mosaic
from tests.generation.queue import make_checkpoint, submit

pytestmark = pytest.mark.django_db

GB = 1_000_000_000
BASELINE = GB // 2
PAPER = Footprint({"network": {"F32": 5 * GB}}, layer=5 * GB, decode=4.8 * GB / (64 * 64))


@pytest.fixture
def big() -> Checkpoint:
    """5 GB, and 4.8 GB of work at 64x64."""
    return make_checkpoint("big", footprint=PAPER.to_dict(), sizes=[[64, 64], [32, 64], [32, 32]])


def told(total: int, device: Device | None = None) -> Device:
    """A heartbeat of a device that has so many bytes, an eighth of it in reserve."""
    device = device or device_ensure()
    ledger = Ledger(total - total // 8, 0, True, "fp32", baseline=BASELINE).to_dict()
    device_beat(device=device, worker_pid=1, status=RoomStatus(2, "cpu", (), BASELINE, total, ledger))
    device.refresh_from_db()
    return device


def ask(user: User, project: Project, checkpoint: Checkpoint, edge: int = 64) -> GenerationRequest:
    return submit(user, project, checkpoint, width=edge, height=edge)


def test_a_device_that_never_told_anything_admits(alice: User, project: Project, big: Checkpoint) -> None:
    assert ask(alice, project, big).state == "queued"
    device = device_ensure()
    assert ask(alice, project, big).state == "queued"
    device_beat(device=device, worker_pid=1, status=None)
    assert ask(alice, project, big).state == "queued"


def test_what_does_not_fit_never_waits(alice: User, project: Project, big: Checkpoint) -> None:
    told(10 * GB)
    with pytest.raises(DoesNotFitError) as caught:
        ask(alice, project, big)
    assert str(caught.value) == (
        "Big needs 9.8 GB for 64x64, this device gives 8.2; smaller: 32x64, 32x32. Choose a smaller size."
    )
    assert caught.value.code == "does_not_fit"
    assert not GenerationRequest.objects.exists()
    assert ask(alice, project, big, 32).state == "queued"


def test_what_no_size_makes_fit_names_the_operator(alice: User, project: Project, big: Checkpoint) -> None:
    told(6 * GB)
    with pytest.raises(DoesNotFitError) as caught:
        ask(alice, project, big)
    assert caught.value.code == "does_not_fit_at_all"
    assert "this device gives 4.7, and no size fits: 32x32 needs 6.2 GB." in caught.value.message
    assert caught.value.hint == OTHER


def test_stepping_down_is_no_reason_to_refuse(alice: User, project: Project) -> None:
    parts = {"unet": {"F32": 3 * GB}, "text_encoder": {"F32": 3 * GB}}
    turns = make_checkpoint("turns", footprint=Footprint(parts, layer=GB).to_dict())
    told(6 * GB)
    assert ask(alice, project, turns, 32).state == "queued"


def test_limits_and_other_devices_count_at_once(alice: User, olga: User, project: Project, big: Checkpoint) -> None:
    device = told(20 * GB)
    assert ask(alice, project, big)
    device_set_limits(device=device, limits={"memory_budget_mb": 8000}, user=olga)
    with pytest.raises(DoesNotFitError, match=r"gives 7\.5; smaller"):
        ask(alice, project, big)
    told(20 * GB, device_ensure(name="second"))
    assert ask(alice, project, big)


def test_who_tries_again_is_asked_again(alice: User, project: Project, big: Checkpoint) -> None:
    old = request_cancel(request=ask(alice, project, big))
    told(10 * GB)
    with pytest.raises(DoesNotFitError):
        request_retry(request=old, user=alice)


@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_the_studio_shows_it_at_the_size_and_keeps_what_was_typed(
    alice: User, project: Project, big: Checkpoint, login: Callable[[User], Client], headers: dict[str, str]
) -> None:
    told(10 * GB)
    form = {"prompt": "a fox", "checkpoint": "big", "size": "64x64", "count": 1, "project": project.pk}
    answer = login(alice).post(reverse("request_create"), form, headers=headers)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert html.count("this device gives 8.2; smaller: 32x64, 32x32.") == 2, "at the field and in the summary"
    at_the_field = html.split('id="error-size"')[1].split("</p>")[0]
    assert "Big needs 9.8 GB for 64x64" in at_the_field
    assert "a fox" in html or headers
    assert not GenerationRequest.objects.exists()


def test_what_cannot_be_foretold_is_admitted(alice: User, project: Project) -> None:
    told(GB)
    assert submit(alice, project, make_checkpoint("gone")).state == "queued"


def test_the_footprint_is_kept_with_the_checkpoint(tmp_path: Path) -> None:
    found = checkpoint_register(path=save_diffusion(tmp_path / "diffusion"))
    parts = found.footprint["parts"]
    assert sum(size for types in parts.values() for size in types.values()) == found.size_bytes
    assert found.spec().footprint == found.footprint
    footprint_learn(checkpoint=found, figures=figures(need=123), width=32, height=32)
    again = checkpoint_register(path=found.path)
    assert list(again.footprint["learnt"].values()) == [123], "the files are the same"
    save_mosaic(tmp_path / "diffusion2")
    other = checkpoint_register(path=tmp_path / "diffusion2", name=found.name)
    assert (other.pk, other.footprint["learnt"]) == (found.pk, {})


def test_one_of_before_is_foretold_when_it_is_asked_for(alice: User, project: Project, tmp_path: Path) -> None:
    found = checkpoint_register(path=save_mosaic(tmp_path / "mosaic"))
    kept = found.footprint
    for old in ({}, {"of another": "version"}):
        Checkpoint.objects.update(footprint=old)
        told(GB)
        submit(alice, project, found)
        found.refresh_from_db()
        assert found.footprint == kept


def figures(**about: Any) -> Figures:
    values = {"need": 100, "memory": "whole", **about}
    return Figures(0, 0, 0, 0, "cpu", "big", "fp32", values["memory"], values["need"])


def test_the_highest_need_is_learnt_and_can_be_forgotten(big: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for need in (70, 100, 90):
        footprint_learn(checkpoint=big, figures=figures(need=need), width=64, height=64)
    footprint_learn(checkpoint=big, figures=figures(need=0), width=32, height=32)
    footprint_learn(checkpoint=big, figures=figures(memory="of tomorrow"), width=32, height=32)
    big.refresh_from_db()
    key = learnt_key(Plan("fp32"), 64, 64, device="cpu")
    assert big.footprint["learnt"] == {key: 100}
    monkeypatch.setattr(footprints, "MOST_LEARNT", 2)
    for edge in (16, 64, 32):
        footprint_learn(checkpoint=big, figures=figures(memory="tiled"), width=edge, height=edge)
    big.refresh_from_db()
    assert [name.split("/")[-1] for name in big.footprint["learnt"]] == ["64x64", "32x32"], "the newest"
    footprint_forget(checkpoint=big)
    big.refresh_from_db()
    assert big.footprint == PAPER.to_dict()
    assert footprint_known(checkpoint=big) == PAPER


def test_a_bad_measurement_refuses_until_it_is_forgotten(alice: User, project: Project, big: Checkpoint) -> None:
    told(20 * GB)
    for rung in ("whole", "sliced", "tiled", "single", "components", "sequential"):
        footprint_learn(checkpoint=big, figures=figures(need=90 * GB, memory=rung), width=64, height=64)
    with pytest.raises(DoesNotFitError, match=r"needs 90\.0 GB"):
        ask(alice, project, big)
    footprint_forget(checkpoint=big)
    assert ask(alice, project, big)
