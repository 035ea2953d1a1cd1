"""A picture is completed while the room draws the next one, and whatever happens then, each request has its end."""

from functools import partial
from typing import Any

import pytest

from accounts.models import User
from generation import scheduler, tasks
from generation.engines.client import RoomClient
from generation.models import Checkpoint, GenerationRequest, Image, Project
from generation.runner import drawing
from generation.runner.pulse import Heartbeat, Pulse
from generation.runner.sitting import Sitting
from generation.runner.worker import Worker
from generation.services.devices import device_beat, device_ensure
from generation.services.requests import request_cancel
from tests.generation.queue import submit

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What happened to which seed, in order: its first reply, its completion."""
    seen: list[tuple[str, int]] = []
    hear, complete = drawing.Drawing.hear, drawing.request_complete

    def hears(self: drawing.Drawing, reply: Any) -> None:
        if ("heard", seed := self.request.params["seed"]) not in seen:
            seen.append(("heard", seed))
        hear(self, reply)

    def completes(*, request: GenerationRequest, **values: Any) -> bool:
        seen.append(("completed", request.params["seed"]))
        return complete(request=request, **values)

    monkeypatch.setattr(drawing.Drawing, "hear", hears)
    monkeypatch.setattr(drawing, "request_complete", completes)
    return seen


def sitting(room: RoomClient, pulse: Pulse, before: Sitting | None = None) -> Sitting:
    """Of the next request, drawn; the one `before` is settled meanwhile."""
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    made = Sitting(room, pulse, meanwhile=before.settle if before else None, may_leave=True)
    made.serve(request)
    return made


def states() -> list[str]:
    """In the order in which they were asked for."""
    return list(GenerationRequest.objects.order_by("created_at").values_list("state", flat=True))


def test_the_next_one_is_drawn_while_one_is_completed(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint, events: list[tuple[str, int]]
) -> None:
    for seed in (1, 2):
        submit(alice, project, diffusion, seed=seed)
    pulse = Pulse()
    first = sitting(room, pulse)
    assert states() == ["running", "queued"]
    assert pulse.drawing is not None, "its lease is kept"
    second = sitting(room, pulse, first)
    assert states() == ["completed", "running"]
    second.settle()
    assert states() == ["completed", "completed"]
    assert events == [("heard", 1), ("completed", 1), ("heard", 2), ("completed", 2)]
    assert Image.objects.count() == 2
    assert pulse.drawing is None
    second.settle()
    assert Image.objects.count() == 2, "settled once"


def test_who_cancels_before_it_is_completed_gets_no_picture(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    request = submit(alice, project, diffusion, seed=1)
    left = sitting(room, Pulse())
    request_cancel(request=request)
    left.settle()
    assert (states(), Image.objects.count()) == (["canceled"], 0)


def test_a_fault_of_the_last_one_does_not_touch_the_next(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2):
        submit(alice, project, diffusion, seed=seed)
    pulse, written = Pulse(), drawing.image_write
    first = sitting(room, pulse)

    def full(**values: Any) -> Any:
        monkeypatch.setattr(drawing, "image_write", written)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(drawing, "image_write", full)
    sitting(room, pulse, first).settle()
    assert states() == ["failed", "completed"]


def test_what_cannot_be_settled_is_told_once_and_the_next_is_drawn(
    room: RoomClient, alice: User, project: Project, diffusion: Checkpoint
) -> None:
    submit(alice, project, diffusion, seed=1)
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None

    def breaks() -> None:
        raise ArithmeticError("of an earlier one")

    made = Sitting(room, Pulse(), meanwhile=breaks, may_leave=True)
    with pytest.raises(ArithmeticError):
        made.serve(request)
    made.settle()
    assert states() == ["completed"]


@pytest.mark.parametrize("leaves", [False, True], ids=["goes on", "stops"])
def test_the_bell_leaves_nothing_behind(
    alice: User,
    project: Project,
    diffusion: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    leaves: bool,
) -> None:
    settings.THREADS, settings.ROOM_NICE = 1, 0
    for seed in (1, 2, 3):
        submit(alice, project, diffusion, seed=seed)
    monkeypatch.setattr(Heartbeat, "start", lambda self: None)  # it outlives the test, and ends the process then
    worker = Worker()
    try:
        device_beat(device=worker.device, worker_pid=1, status=None)
        worker.pulse = Pulse()
        serve, times = worker.serve_one, iter(range(9))

        def serves() -> bool:
            if leaves and next(times) == 1:
                worker.pulse.leave(60)
            return serve()

        monkeypatch.setattr(worker, "serve_one", serves)
        monkeypatch.setattr(tasks, "the_worker", partial(lambda one: one, worker))
        monkeypatch.setattr(tasks, "ring", lambda **values: None)
        assert tasks.drain() == (2 if leaves else 3)
        assert states() == (["completed", "completed", "queued"] if leaves else ["completed"] * 3)
    finally:
        worker.room.close()
