"""A large card beside a small one: who is asked at the front door, who claims what, and what ran out of memory."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from generation import scheduler
from generation.engines.errors import DeviceMemoryError
from generation.models import Checkpoint, Device, GenerationRequest, Project
from generation.runner.settling import settle
from generation.services.admission import DoesNotFitError
from generation.services.devices import device_ensure
from generation.services.leases import work_waits
from tests.generation.queue import make_checkpoint
from tests.generation.test_admission import GB, PAPER, ask, told

SUM = "a" * 64
RAN_OUT = DeviceMemoryError("Memory ran out.")

pytestmark = pytest.mark.django_db


@pytest.fixture
def big() -> Checkpoint:
    """9.8 GB at 64x64, 6.2 GB at 32x32."""
    return make_checkpoint("big", footprint=PAPER.to_dict(), sizes=[[64, 64], [32, 32]], sha256=SUM)


@pytest.fixture
def small() -> Device:
    """Gives 8.2 GB."""
    return told(10 * GB, device_ensure(name="small"))


@pytest.fixture
def large() -> Device:
    """Gives 17 GB."""
    return told(20 * GB, device_ensure(name="large"))


def silent(device: Device, **since: float) -> None:
    """Nothing was heard of it for so long."""
    Device.objects.filter(pk=device.pk).update(heartbeat_at=timezone.now() - timedelta(**since))


def out_of_memory(request: GenerationRequest | None) -> tuple[str, int]:
    """What becomes of it."""
    assert request is not None
    settle(request, RAN_OUT, stopping=False, canceled=False)
    request.refresh_from_db()
    return request.state, request.attempt


def test_a_small_device_leaves_to_a_larger_one_what_it_has_not_the_memory_for(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    wide = ask(alice, project, big, 64)
    assert (work_waits(small), work_waits(large)) == (False, True)
    assert scheduler.claim_next(small, ["big"]) is None
    narrow = ask(alice, project, big, 32)
    GenerationRequest.objects.filter(pk=wide.pk).update(promoted_at=timezone.now())
    assert scheduler.claim_next(small, ["big"]) == narrow
    silent(large, minutes=5)
    assert scheduler.claim_next(small, ["big"]) is None, "it may come back"
    assert scheduler.outlook() == {}, "nobody is there for it"
    told(20 * GB, large)
    assert wide.pk in scheduler.outlook()
    assert scheduler.claim_next(large, []) == wide


def test_what_fits_on_nobody_who_is_left_is_tried(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    wide = ask(alice, project, big, 64)
    silent(large, days=1)
    assert scheduler.claim_next(small, []) == wide


def test_what_ran_out_of_memory_goes_to_another_device_once(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    ask(alice, project, big, 32)
    assert out_of_memory(scheduler.claim_next(small, [])) == ("queued", 1)
    assert scheduler.claim_next(small, []) is None, "not again here"
    claimed = scheduler.claim_next(large, [])
    assert claimed is not None
    assert claimed.error_code == ""
    assert out_of_memory(claimed) == ("failed", 2)
    assert claimed.error_code == "out_of_memory"


def test_it_is_tried_here_again_when_the_other_device_is_gone(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    ask(alice, project, big, 32)
    assert out_of_memory(scheduler.claim_next(small, [])) == ("queued", 1)
    silent(large, minutes=5)
    assert out_of_memory(scheduler.claim_next(small, [])) == ("failed", 2)


def test_where_nobody_else_could_draw_it_it_fails_at_once(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    ask(alice, project, big, 64)
    assert out_of_memory(scheduler.claim_next(large, [])) == ("failed", 1)


def test_only_those_are_asked_who_are_there_and_have_the_files(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    Device.objects.update(present={"big": SUM})
    assert ask(alice, project, big, 64)
    Device.objects.filter(pk=large.pk).update(present={})
    with pytest.raises(DoesNotFitError, match=r"this device gives 8\.2"):
        ask(alice, project, big, 64)
    Device.objects.update(present={"big": SUM})
    silent(large, days=60)
    with pytest.raises(DoesNotFitError, match=r"this device gives 8\.2"):
        ask(alice, project, big, 64)
    device_ensure(name="never-told")
    with pytest.raises(DoesNotFitError, match=r"this device gives 8\.2"):
        ask(alice, project, big, 64)


def test_one_that_starts_is_still_counted_upon(
    alice: User, project: Project, big: Checkpoint, small: Device, large: Device
) -> None:
    Device.objects.filter(pk=large.pk).update(host="there", heartbeat_at=None)
    wide = ask(alice, project, big, 64)
    assert scheduler.claim_next(small, []) is None
    told(20 * GB, large)
    assert scheduler.claim_next(large, []) == wide
