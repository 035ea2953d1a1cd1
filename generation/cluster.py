"""django-q2's cluster, made crash-only: whoever of it dies, all die, and the supervisor starts it anew.

The reasons (docs/decisions/0003): an idle worker that is killed takes the queue's lock with it, so a cluster that
replaces it never runs a task again; a killed parent leaves children that go on working; a signal to the whole group
kills the sentinel first. Built on private parts of django-q2, hence the pin to 1.11 and the kill tests.
"""

import contextlib
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing import Event
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import psutil
from django.db import connections
from django_q.cluster import Sentinel, get_mp_context
from django_q.conf import Conf
from django_q.worker import worker

from core.lifeline import end_with_parent

logger = logging.getLogger(__name__)

CRASHED = 70
STOP_SECONDS = 3.0
ALONE_SECONDS = 10.0
POLL_SECONDS = 0.1

OnStop = Callable[[float], None]  # told how many seconds there are for what is in hand


class HouseSentinel(Sentinel):  # type: ignore[misc]
    """Guards worker, pusher and monitor, and replaces none of them."""

    on_stop: OnStop
    drain_seconds: float

    def start(self) -> None:
        """A signal to the whole group must not end the one who winds the others up."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().start()

    def spawn_cluster(self) -> None:
        """Everybody is forked from here, once."""
        _close_connections()
        super().spawn_cluster()

    def spawn_process(self, target: Callable[..., None], *args: Any) -> Any:
        """As django-q2 does, but the child dies with this process."""
        is_worker = target == worker
        process = get_mp_context().Process(
            target=_live,
            args=(os.getpid(), self.on_stop if is_worker else None, self.drain_seconds, target, *args),
        )
        process.daemon = Conf.DAEMONIZE_WORKERS if is_worker else True
        if is_worker:
            process.timer = args[2]
            self.pool.append(process)
        process.start()
        return process

    def reincarnate(self, process: BaseProcess) -> NoReturn:
        """Somebody died: so do all."""
        logger.critical("Process %s of the cluster died (%s); all are ended", process.pid, process.exitcode)
        for child in (*self.pool, self.monitor, self.pusher):
            if child is not None and child.is_alive():
                child.kill()
        os._exit(CRASHED)

    def stop(self) -> None:
        """Tell the worker first, so that it knows how long it has for what it draws, and begins nothing more."""
        for process in self.pool:
            if process.is_alive():
                os.kill(process.pid, signal.SIGTERM)
        super().stop()


class HouseCluster:
    """The parent: starts the sentinel, hears the signals, and leaves nobody behind.

    SIGTERM drains: what is drawn is finished within `drain_seconds`, else given back. SIGINT gives it back at once,
    also when it comes later.
    """

    def __init__(self, on_stop: OnStop, drain_seconds: float) -> None:
        self._stop_event = Event()
        self._stop_at: float | None = None
        self._drain_seconds = drain_seconds
        self._hurry = False
        told = (os.getpid(), self._stop_event, Event(), uuid.uuid4(), on_stop, drain_seconds)
        self._sentinel = get_mp_context().Process(target=_guard, args=told, name="sentinel")

    def run(self) -> int:
        """Until asked to stop (0) or until somebody dies (70)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        _close_connections()
        self._sentinel.start()
        while self._sentinel.is_alive():
            self._sentinel.join(POLL_SECONDS)
            if self._stop_at is not None:
                self._stop_event.set()
                self._tell_hurry()
                if time.monotonic() > self._stop_at:
                    logger.warning("The cluster did not stop by itself and is ended")
                    break
        _kill_descendants()
        return CRASHED if self._stop_at is None else 0

    def _ask_to_stop(self, number: int, frame: object) -> None:
        hurry = number == signal.SIGINT
        if self._stop_at is None or hurry:
            self._hurry = hurry
            self._stop_at = time.monotonic() + STOP_SECONDS + (0 if hurry else self._drain_seconds)

    def _tell_hurry(self) -> None:
        """Only the worker listens to SIGINT, all others ignore it."""
        if self._hurry:
            self._hurry = False
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGINT)


def _close_connections() -> None:
    """Neither a connection nor a pool of them may cross a fork: the threads that keep a pool do not."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if close_pool := getattr(connection, "close_pool", None):
            close_pool()


def _guard(
    parent: int, stop_event: Any, start_event: Any, key: uuid.UUID, on_stop: OnStop, drain_seconds: float
) -> None:
    """The sentinel's whole life. Returning from it would wait for children that nobody guards any more."""
    die_with(parent)
    HouseSentinel.on_stop, HouseSentinel.drain_seconds = staticmethod(on_stop), drain_seconds
    try:
        HouseSentinel(stop_event, start_event, key, None, None)
    except BaseException:
        logger.critical("The sentinel of the cluster broke; all are ended", exc_info=True)
        os._exit(CRASHED)


def _live(parent: int, on_stop: OnStop | None, drain_seconds: float, target: Callable[..., None], *args: Any) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all of the group: pusher and monitor end when told
    if on_stop is not None:
        signal.signal(signal.SIGTERM, lambda number, frame: _wind_up(on_stop, drain_seconds))
        signal.signal(signal.SIGINT, lambda number, frame: _wind_up(on_stop, 0))
    target(*args)


def _wind_up(on_stop: OnStop, seconds: float) -> None:
    on_stop(seconds)
    # A worker that alone got the signal would wait for ever; when all stop, it is gone long before.
    timer = threading.Timer(seconds + ALONE_SECONDS, os._exit, [CRASHED])
    timer.daemon = True
    timer.start()


def die_with(parent: int) -> None:
    """End this process, by force, when `parent` ends."""
    if not end_with_parent(signal.SIGKILL):
        threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(CRASHED)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(CRASHED)


def _kill_descendants() -> None:
    children = psutil.Process().children(recursive=True)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=2)
