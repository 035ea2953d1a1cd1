"""A device whose engine room does not open: it takes no request and fails none, tells why, and is tried again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django_q.models import OrmQ

from accounts.models import User
from generation import payloads, scheduler
from generation.engines.errors import DeviceError
from generation.models import Device, GenerationRequest, Project
from generation.queue_state import devices_now
from generation.runner import worker
from generation.runner.settling import settle
from generation.services.checkpoints import checkpoint_register
from generation.services.devices import device_beat, device_ensure, device_opens
from generation.waits import BROKEN
from tests.generation.engines.tiny import save_mosaic
from tests.generation.queue import make_checkpoint, submit


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, settings: Any, transactional_db: None) -> Any:
    """A worker without a heartbeat, on a device that is not here."""
    monkeypatch.setattr(worker.Heartbeat, "start", lambda self: None)
    settings.DEVICE, settings.THREADS = "cuda", 1
    made = worker.Worker()
    yield made
    made.room.close()


@pytest.mark.processes
def test_a_broken_device_claims_nothing_until_it_is_mended(
    own: worker.Worker, alice: User, project: Project, tmp_path: Path, settings: Any
) -> None:
    kills = [own.room.kill]

    def kill_once() -> None:
        while kills:
            kills.pop()()

    mosaic = checkpoint_register(path=save_mosaic(tmp_path / "a"))
    first, second = submit(alice, project, mosaic), submit(alice, project, mosaic)
    device_beat(device=own.device, worker_pid=1, status=None)
    assert not own.serve_one()
    assert set(GenerationRequest.objects.values_list("state", "attempt")) == {("queued", 0)}
    device = Device.objects.get()
    assert device.last_error == "The device 'cuda' does not work here. Use auto to take what works."
    assert not own.opening.is_due, "it is not tried again at once"
    own.warm_up()
    found = payloads.request_payload(first)
    assert (found["position"], found["wait"]) == (0, BROKEN.words)
    assert "error" not in found
    own.room.settings, settings.DEVICE, own.opening._again_at = replace(own.room.settings, device="cpu"), "cpu", 0.0
    assert own.opening.opens(kill_once), "one that is killed as it opens proves nothing"
    device.refresh_from_db()
    assert (kills, device.last_error) == ([], "")
    while own.serve_one():
        pass
    for request in (first, second):
        request.refresh_from_db()
        assert (request.state, request.attempt) == ("completed", 1)


def test_nobody_waits_for_a_broken_device(alice: User, project: Project) -> None:
    tiny, device = make_checkpoint(), device_ensure()
    device_beat(device=device, worker_pid=1, status=None)
    device_opens(device=device, problem="No driver. " * 100)
    two = Device.objects.create(name="two")
    device_beat(device=two, worker_pid=2, status=None)
    Device.objects.update(resident=[{"name": "tiny", "bytes": 1}])
    rows = list(Device.objects.all())
    assert [one.name for one in devices_now(rows, scheduler.timezone.now(), {})] == [two.pk]
    submit(alice, project, tiny)
    Device.objects.filter(pk=two.pk).update(resident=[])
    assert scheduler.claim_next(two, []) is not None, "it does not wait for the one that has it loaded"


@pytest.mark.django_db(transaction=True)
def test_a_broken_device_hears_of_no_request(alice: User, project: Project) -> None:
    for name in ("main", "two"):
        device_beat(device=device_ensure(name=name), worker_pid=1, status=None)
    device_opens(device=device_ensure(name="main"), problem="No driver.")
    submit(alice, project, make_checkpoint())
    assert list(OrmQ.objects.values_list("key", flat=True)) == ["tessera-two"]


def test_one_that_breaks_while_it_draws_gives_the_request_back_once(alice: User, project: Project) -> None:
    submit(alice, project, make_checkpoint())
    for state in ("queued", "failed"):
        claimed = scheduler.claim_next(device_ensure(), [])
        assert claimed is not None
        settle(claimed, DeviceError("The device does not work any more."), stopping=False, canceled=False)
        claimed.refresh_from_db()
        assert claimed.state == state
    assert (claimed.error_code, claimed.attempt) == ("device_unusable", 2)
