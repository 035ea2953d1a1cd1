"""Which device has which checkpoint: what it tells, who may claim what, whose bell rings, what is refused."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ

from accounts.models import AuditEvent, User
from core.errors import TesseraError
from generation import checks, payloads, scheduler
from generation.engines.errors import CheckpointError
from generation.management.commands import cluster
from generation.models import Checkpoint, Device, GenerationRequest, Project
from generation.presence import held_by_nobody, usable_on
from generation.runner.presence import Presence
from generation.runner.settling import settle
from generation.services import bell
from generation.services.devices import UNREADABLE, device_beat, device_claim, device_introduce, device_silence
from generation.services.forecast import promise_record
from generation.services.leases import work_waits
from generation.services.local_files import checkpoint_here, spec_here
from generation.services.requests import requests_refuse
from generation.software import key_mark, software_version
from generation.views.cards import card_of
from tests.generation.queue import make_checkpoint, submit

A, B = "a" * 64, "b" * 64
Make = Callable[..., Device]


@pytest.fixture
def device(db: None) -> Make:
    """A living device that tells what it has."""

    def make(name: str, present: dict[str, str] | None, *, silent: float = 0, **fields: Any) -> Device:
        beat = timezone.now() - timedelta(seconds=silent)
        return Device.objects.create(name=name, present=present, heartbeat_at=beat, **fields)

    return make


def old(name: str, sha256: str = A) -> Checkpoint:
    """A checkpoint that was added a while ago."""
    made = make_checkpoint(name, sha256=sha256)
    Checkpoint.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(hours=1))
    made.refresh_from_db()
    return made


def test_each_device_claims_what_it_has(alice: User, project: Project, device: Make) -> None:
    tiny, large = old("tiny"), old("large")
    one, two = device("one", {"tiny": A}), device("two", {"large": A, "tiny": B})
    first, second = submit(alice, project, large), submit(alice, project, tiny)
    assert not work_waits(device("three", {}))
    assert scheduler.claim_next(one, []) == second
    assert scheduler.claim_next(one, []) is None
    assert (work_waits(one), work_waits(two)) == (False, True)
    assert scheduler.claim_next(two, []) == first


def test_one_that_is_alone_or_has_not_told_tries_all(device: Make) -> None:
    old("tiny")
    alone = device("one", {})
    assert usable_on([alone]) == {}
    assert usable_on([alone, device("two", None)]) == {}
    gone = device("three", {"tiny": A}, silent=2 * 3600)
    assert usable_on([alone, gone]) == {}
    assert held_by_nobody() == []


def test_a_sum_that_is_not_known_yet_is_believed(device: Make) -> None:
    old("tiny")
    found = usable_on([device("one", {"tiny": ""}), device("two", {"tiny": B}), device("three", {"tiny": UNREADABLE})])
    assert sorted(len(names or ()) for names in found.values()) == [0, 0, 1]


def test_what_nobody_has_is_refused_and_what_waits_for_it_fails(alice: User, project: Project, device: Make) -> None:
    lost = old("lost")
    waiting = submit(alice, project, lost)
    device("one", {})
    device("two", {"lost": B})
    with pytest.raises(TesseraError, match="No device here has the files"):
        submit(alice, project, lost)
    assert requests_refuse() == 1
    waiting.refresh_from_db()
    assert (waiting.state, waiting.error_code) == ("failed", "checkpoint_nowhere")
    submit(alice, project, make_checkpoint("new"))  # added just now: nobody had the time to look


def test_who_is_silent_for_a_while_is_waited_for(alice: User, project: Project, device: Make) -> None:
    rare = old("rare")
    device("one", {})
    device("two", {"rare": A}, silent=600)
    request = submit(alice, project, rare)
    assert requests_refuse() == 0
    Device.objects.filter(name="two").update(heartbeat_at=timezone.now() - timedelta(days=1))
    device("three", {})
    assert requests_refuse() == 1
    request.refresh_from_db()
    assert request.state == "failed"


def test_who_waits_for_a_device_that_is_silent_reads_it(alice: User, project: Project, device: Make) -> None:
    here, elsewhere = old("tiny"), old("large")
    device("one", {"tiny": A}), device("two", {"large": A}, silent=120)
    served, waits = submit(alice, project, here), submit(alice, project, elsewhere)
    promise_record(request=waits)
    found = payloads.request_payload(waits)
    assert (found["position"], found["wait"]) == (0, "waits for a device that has this checkpoint and takes work")
    assert payloads.request_payload(served)["position"] == 1
    waits.refresh_from_db()
    assert waits.promised_p90_at is None, "nothing is promised"
    card = card_of(GenerationRequest.objects.all(), waits.pk, alice)
    assert card.position == "waits for a device that has this checkpoint and takes work"


@pytest.mark.django_db(transaction=True)
def test_a_request_rings_those_who_can_draw_it(alice: User, project: Project, device: Make) -> None:
    tiny = old("tiny")
    device("main", {"tiny": A})
    device("two", {"tiny": A})
    device("without", {})
    device("paused", {"tiny": A}, paused=True)
    device("silent", {"tiny": A}, silent=60)
    submit(alice, project, tiny)
    assert set(OrmQ.objects.values_list("key", flat=True)) == {"tessera", "tessera-two"}
    submit(alice, project, tiny)
    assert OrmQ.objects.count() == 2, "a bell that nobody heard yet is not rung twice"
    bell.ring(device=Device.objects.get(name="paused"))
    assert OrmQ.objects.filter(key="tessera-paused").count() == 1


def test_a_device_that_cannot_load_leaves_it_to_others(alice: User, project: Project, device: Make) -> None:
    tiny = old("tiny")
    one = device("one", {"tiny": A})
    device("two", {"tiny": A})
    submit(alice, project, tiny)
    claimed = scheduler.claim_next(one, [])
    assert claimed is not None
    settle(claimed, CheckpointError("broken"), stopping=False, canceled=False)
    claimed.refresh_from_db()
    tiny.refresh_from_db()
    assert (claimed.state, claimed.attempt, tiny.enabled) == ("queued", 0, True)
    assert scheduler.claim_next(Device.objects.get(pk=one.pk), []) is None
    claimed = scheduler.claim_next(Device.objects.get(name="two"), [])
    assert claimed is not None
    settle(claimed, CheckpointError("broken"), stopping=False, canceled=False)
    tiny.refresh_from_db()
    assert (GenerationRequest.objects.get().state, tiny.enabled) == ("failed", False), "nobody is left"


def test_a_checkpoint_whose_only_machine_is_away_is_not_switched_off(
    alice: User, project: Project, device: Make
) -> None:
    tiny = old("tiny")
    left, asleep = device("left", {}), device("asleep", {"tiny": A})
    submit(alice, project, tiny)
    Device.objects.filter(pk=asleep.pk).update(heartbeat_at=timezone.now() - timedelta(days=1))
    claimed = scheduler.claim_next(left, [])
    assert claimed is not None, "who is alone tries all"
    settle(claimed, CheckpointError("no such folder"), stopping=False, canceled=False)
    claimed.refresh_from_db()
    tiny.refresh_from_db()
    assert (claimed.state, claimed.error_code, tiny.enabled) == ("failed", "checkpoint_nowhere", True)
    with pytest.raises(TesseraError, match="No device here has the files"):
        submit(alice, project, tiny)
    Device.objects.filter(name="asleep").update(heartbeat_at=timezone.now())
    submit(alice, project, tiny)
    assert scheduler.claim_next(Device.objects.get(name="left"), []) is None
    assert scheduler.claim_next(Device.objects.get(name="asleep"), []) is not None


def test_a_device_that_starts_is_waited_for(alice: User, project: Project, device: Make) -> None:
    rare = old("rare")
    device("one", {}), device("two", {})
    starts = device("starts", {"rare": A}, host="there")
    request = submit(alice, project, rare)
    Device.objects.filter(pk=starts.pk).update(heartbeat_at=None)
    assert requests_refuse() == 0
    request.refresh_from_db()
    assert request.state == "queued"
    submit(alice, project, rare)


def test_presence_tells_what_lies_here_and_sums_it_up(device: Make, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    make_checkpoint("here", path=str(folder), sha256=A)
    make_checkpoint("elsewhere", path=str(tmp_path / "nothing"), sha256=A)
    own = device("main", None)
    presence = Presence(own, thorough=True)
    presence.refresh()
    own.refresh_from_db()
    assert own.present == {"here": ""}
    assert presence._thread is not None
    presence._thread.join(30)
    presence.refresh()
    own.refresh_from_db()
    assert own.present is not None and len(own.present["here"]) == 64
    assert not own.holds("here", A), "the files are others"
    shutil.rmtree(folder)
    presence._looked = float("-inf")
    presence.refresh()
    own.refresh_from_db()
    assert own.present == {}


def test_files_are_found_under_another_path(db: None, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "disk" / "sdxl").mkdir(parents=True)
    moved = make_checkpoint("sdxl", path="/on/another/machine/sdxl")
    assert checkpoint_here(moved) is None
    assert spec_here(moved).path == "/on/another/machine/sdxl"
    settings.CHECKPOINTS = [tmp_path / "none", tmp_path / "disk"]
    assert spec_here(moved).path == str(tmp_path / "disk" / "sdxl")


def test_a_device_is_served_from_one_data_folder(
    device: Make, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = device("main", {}, host="somewhere-else", instance="another folder")
    monkeypatch.setattr(cluster, "TAKE_OVER_SECONDS", 0.0)
    with pytest.raises(CommandError, match="is served by another cluster, on somewhere-else"):
        cluster.only_here()
    assert not device_beat(device=own, worker_pid=1, status=None) and not device_introduce(device=own)
    device_silence()
    own.refresh_from_db()
    assert own.is_alive() and own.worker_pid is None, "nothing of the other one's was touched"
    Device.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    cluster.only_here()
    assert device_introduce(device=own) and device_beat(device=own, worker_pid=1, status=None)
    cluster.only_here()  # again, from the same folder: its worker may have died a moment ago


def test_of_two_that_start_together_one_serves(db: None, settings: Any, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    refused = []
    for folder in folders:
        folder.mkdir()
        settings.DATA = folder
        refused.append(device_claim())
    assert refused[0] is None and refused[1] is not None, "also before the first one's heart beats"
    own = Device.objects.get()
    assert not device_beat(device=own, worker_pid=1, status=None)
    Device.objects.update(claimed_at=timezone.now() - timedelta(minutes=1))
    assert device_claim() is None, "the first one never began to serve"


def test_a_device_that_will_never_come_back_is_deleted(
    alice: User, olga: User, project: Project, device: Make, login: Callable[[User], Client]
) -> None:
    tiny = old("tiny")
    gone, living, busy = (device(name, None, silent=age) for name, age in (("gone", 60), ("living", 0), ("busy", 60)))
    submit(alice, project, tiny)
    assert scheduler.claim_next(busy, []) is not None
    done = submit(alice, project, tiny)
    GenerationRequest.objects.filter(pk=done.pk).update(state="completed", device=gone)
    chosen = {"action": "forget_selected", "_selected_action": [str(one.pk) for one in (gone, living, busy)]}
    page = reverse("admin:generation_device_changelist")
    assert login(alice).post(page, chosen).status_code == 302 and Device.objects.count() == 3
    said = login(olga).post(page, chosen, follow=True).content.decode()
    assert "gone was deleted" in said and "living is alive" in said and "have not taken over" in said
    assert set(Device.objects.values_list("name", flat=True)) == {"living", "busy"}
    event = AuditEvent.objects.get(verb="device.delete")
    assert (event.actor, event.target_id, event.detail) == (olga, str(gone.pk), "gone")
    done.refresh_from_db()
    assert done.state == "completed" and done.device is None
    assert not device_beat(device=gone, worker_pid=1, status=None), "its worker, should it live, ends itself"


def test_a_start_says_which_machines_do_not_fit(device: Make, caplog: pytest.LogCaptureFixture) -> None:
    own = device("main", {})
    device("old", {}, version="0.0.1", host="far")
    assert device_introduce(device=own)
    assert [one.levelname for one in caplog.records if "old on far runs Tessera 0.0.1" in one.getMessage()] == [
        "WARNING"
    ]


def test_machines_that_do_not_fit_together_are_told(device: Make) -> None:
    device("same", {}, version=software_version(), key_mark=key_mark())
    device("old", {}, version="0.0.1", key_mark=key_mark(), host="far")
    device("stranger", {}, version=software_version(), key_mark="0" * 16)
    found = checks.machines(databases=["default"])
    assert sorted(str(one.id) for one in found) == ["tessera.W005", "tessera.W006"]
    assert checks.machines() == []
