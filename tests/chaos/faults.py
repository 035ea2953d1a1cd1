"""What is done to the portal, each at its moment. A fault submits what it needs, strikes, and says what may fail."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from generation.models import GenerationRequest
from tests.chaos.native import hanging
from tests.chaos.rounds import Round
from tests.disk import fill

HOUR = 3600
FULL_SECONDS = 3.0  # long enough for pictures to be finished meanwhile
START_SECONDS = 1.0  # what a service manager waits before it starts again


@dataclass(frozen=True, slots=True)
class Fault:
    """`act` strikes in a round. `failures`: how many requests may fail with a reason; all others must complete.

    `bound`: seconds until pictures must come again; more than the usual where a limit of the settings comes first.
    """

    name: str
    act: Callable[[Round], None]
    failures: int = 0
    bound: float = 15.0
    remark: str = ""
    short: bool = False  # whether the short form has it: what no other test does to a portal


def _killed(role: str) -> Callable[[Round], None]:
    """While a picture is drawn."""

    def act(now: Round) -> None:
        now.stage.until(now.accept(), "running")
        now.strike(lambda: os.kill(now.stage.pid(role), signal.SIGKILL))

    return act


def _web_killed(now: Round) -> None:
    """While people send wishes to it: what was answered must be there."""
    now.stage.until(now.accept(), "running")
    sent = threading.Thread(target=now.send_many)
    sent.start()
    time.sleep(random.uniform(0.0, 0.5))  # noqa: S311 any moment will do
    now.strike(lambda: os.kill(now.stage.pid("web"), signal.SIGKILL))
    sent.join()


def _idle_worker_killed(now: Round) -> None:
    now.stage.wait(now.stage.is_idle, "peace")
    now.strike(lambda: os.kill(now.stage.pid("worker"), signal.SIGKILL))


def _room_killed_loading(now: Round) -> None:
    """A fresh room has to open and to read the weights; somewhere in there."""
    now.stage.wait(now.stage.is_idle, "peace")
    former = now.stage.pid("room")
    os.kill(former, signal.SIGKILL)
    request = now.accept()
    now.stage.until(request, "loading", "running")
    now.stage.wait(lambda: now.stage.family().get("room", former) != former, "a fresh room")
    time.sleep(random.uniform(0.0, 3.0))  # noqa: S311 any moment will do
    now.strike(lambda: os.kill(now.stage.pid("room"), signal.SIGKILL))


def _killed_saving(role: str) -> Callable[[Round], None]:
    """As soon as the first of several files is begun: not all are written then, and no row is there."""

    def act(now: Round) -> None:
        now.accept(count=4)
        pid = now.stage.pid(role)
        now.stage.wait(lambda: now.files() - now.files_before, "files without rows", pause=0)
        now.strike(lambda: os.kill(pid, signal.SIGKILL))

    return act


def _room_hangs(now: Round) -> None:
    """The main thread, in native code; the listener goes on telling that all is well."""
    now.stage.until(now.accept(), "running")
    room = now.stage.pid("room")
    now.strike(lambda: None)
    with hanging(room) as has_ended:
        now.stage.wait(has_ended, "the end of the room that hangs")


def _room_stopped(now: Round) -> None:
    now.stage.until(now.accept(), "running")
    now.strike(lambda: os.kill(now.stage.pid("room"), signal.SIGSTOP))


def _supervisor_killed(now: Round) -> None:
    now.stage.until(now.accept(), "running")
    now.strike(now.stage.kill_supervisor)
    now.stage.restart(START_SECONDS)


def _all_terminated(now: Round) -> None:
    """SIGTERM to every process of the portal, as service managers send it. What is drawn is finished."""
    first = now.accept()
    now.stage.until(first, "running")
    now.strike(now.stage.terminate_all)
    now.stage.wait(lambda: not now.stage.everybody(), "the end of everybody", 60)
    now.expect(first, "completed", attempts=1)
    now.strike(lambda: None)  # it stopped as it was asked to: what counts is the time from the start
    now.stage.restart(START_SECONDS)


def _interrupted(now: Round) -> None:
    """Ctrl-C: what is drawn goes back, and costs no attempt."""
    first = now.accept()
    now.stage.until(first, "running")
    now.strike(now.stage.interrupt)
    now.stage.wait(lambda: not now.stage.everybody(), "the end of everybody", 60)
    now.expect(first, "queued", attempts=0)
    now.strike(lambda: None)
    now.stage.restart(START_SECONDS)


def _disk_full(now: Round) -> None:
    """While pictures are drawn and saved; room again after some seconds."""
    now.stage.until(now.accept(), "running")
    ballast = fill(now.stage.data)
    try:
        time.sleep(FULL_SECONDS)
    finally:
        now.strike(ballast.unlink)


def _clock_set_back(now: Round) -> None:
    """An hour, in mid-picture; people go on sending wishes to a portal that lives in the past now."""
    now.stage.until(now.accept(), "running")
    clock = now.stage.clock
    assert clock is not None
    now.strike(lambda: clock.move(now.stage.hours(-1) * HOUR))
    now.send()


def _poison(now: Round) -> None:
    """Whenever it is drawn the room dies. It fails at its last attempt; who was drawn beside it does not."""
    poison = now.accept()
    others = [now.accept(), now.accept()]
    end = GenerationRequest.objects.filter(pk=poison.pk, state__in=GenerationRequest.FINAL)
    while not end.exists():
        drawn = GenerationRequest.objects.filter(pk=poison.pk, state="running")
        now.stage.wait(lambda drawn=drawn: drawn.exists() or end.exists(), "poison")
        if drawn.exists() and (room := now.stage.family().get("room")):
            with contextlib.suppress(ProcessLookupError):
                now.strike(lambda room=room: os.kill(room, signal.SIGKILL))
            now.stage.wait(lambda drawn=drawn: not drawn.exists(), "the end of the attempt")
    now.expect(poison, "failed", attempts=2)
    for other in others:
        now.stage.until(other, "completed")


FAULTS = (
    Fault("web killed", _web_killed, short=True),
    Fault("cluster's parent killed", _killed("cluster")),
    Fault("sentinel killed", _killed("sentinel")),
    Fault("pusher killed", _killed("pusher")),
    Fault("monitor killed", _killed("monitor")),
    Fault("idle worker killed", _idle_worker_killed),
    Fault("busy worker killed", _killed("worker")),
    Fault("worker killed while pictures are saved", _killed_saving("worker"), short=True),
    Fault("room killed while it loads", _room_killed_loading),
    Fault("room killed while it draws", _killed("room")),
    Fault("room killed while pictures are saved", _killed_saving("room")),
    Fault("room hangs in native code", _room_hangs, remark="TESSERA_STALL_SECONDS is 5", short=True),
    Fault("room stopped", _room_stopped, remark="TESSERA_STALL_SECONDS is 5"),
    Fault("poison kills the room each time", _poison, failures=1, short=True),
    Fault(
        "disk full while pictures are saved",
        _disk_full,
        failures=2,
        remark="from when there is room again",
    ),
    Fault("clock set back an hour", _clock_set_back, short=True),
    Fault("supervisor killed and started again", _supervisor_killed, short=True),
    Fault("SIGTERM to everybody, then started again", _all_terminated, remark="from the start on"),
    Fault("Ctrl-C, then started again", _interrupted, remark="from the start on"),
)
