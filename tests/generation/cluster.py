"""A real cluster for tests: `manage.py cluster` in its own process, with its own data folder and tiny checkpoints."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connections

from generation.models import Device, GenerationRequest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


@dataclass
class ClusterProcess:
    """The cluster on one data folder; start it as often as you kill it."""

    data: Path
    processes: list[psutil.Process] = field(default_factory=list)
    parent: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.data / "cluster.log"

    def start(self, settings: str = "config.settings", *, side_by_side: int = 1, drain: int = 0) -> None:
        """Start it and wait for the first beat of its worker."""
        before = self.beat()
        with self.log.open("ab") as log:
            self.parent = subprocess.Popen(
                [sys.executable, "manage.py", "cluster"],
                cwd=ROOT,
                env={
                    **environment(self.data),
                    "DJANGO_SETTINGS_MODULE": settings,
                    "TESSERA_SIDE_BY_SIDE": str(side_by_side),
                    "TESSERA_DRAIN_SECONDS": str(drain),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait(lambda: self.beat() not in (before, None), "a heartbeat")
        self.note_processes()

    def beat(self) -> object:
        """When the worker's heart last beat."""
        return Device.objects.values_list("heartbeat_at", flat=True).first()

    def note_processes(self) -> None:
        """Remember everybody who lives now."""
        top = psutil.Process(self.top)
        for process in (top, *top.children(recursive=True)):
            if process not in self.processes:
                self.processes.append(process)

    @property
    def top(self) -> int:
        """The parent of all."""
        assert self.parent is not None
        return self.parent.pid

    @property
    def worker(self) -> int:
        """The process that runs tasks."""
        return int(Device.objects.values_list("worker_pid", flat=True).get() or 0)

    @property
    def sentinel(self) -> int:
        """Its parent."""
        return psutil.Process(self.worker).ppid()

    @property
    def room(self) -> int:
        """The worker's only child."""
        (room,) = psutil.Process(self.worker).children()
        if room not in self.processes:
            self.processes.append(room)
        return int(room.pid)

    def killed(self, pid: int) -> int:
        """Kill one of them; the exit code of the parent. Nobody may be left then."""
        self.note_processes()
        os.kill(pid, signal.SIGKILL)
        return self.ended()

    def ended(self) -> int:
        """Wait until the parent has ended; its exit code. Then nobody may be left."""
        assert self.parent is not None
        code = self.parent.wait(PATIENCE)
        self.wait(lambda: not self.left(), "the end of every process")
        return code

    def left(self) -> list[psutil.Process]:
        """Who still lives."""
        return [process for process in self.processes if process.is_running() and not _is_dead(process)]

    def stop(self) -> None:
        """End it whatever happened."""
        if self.parent is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.parent.pid, signal.SIGKILL)
            self.parent.wait()
        for process in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Look often; tell what the cluster printed when it takes too long."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}:\n{self.log.read_text(errors='replace')[-6000:]}")
            time.sleep(0.05)

    def wait_for(self, request: GenerationRequest, *states: str, attempt: int | None = None) -> GenerationRequest:
        """Until the request is in one of `states`, and in that attempt if given."""
        row = GenerationRequest.objects.filter(pk=request.pk, state__in=states)
        row = row if attempt is None else row.filter(attempt=attempt)
        self.wait(row.exists, f"{request} in {states}, attempt {attempt}")
        return row.get()


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the write lock of the cluster's database."""
    connection = sqlite3.connect(data / "tessera.sqlite3", isolation_level=None, timeout=20)
    with contextlib.closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def environment(data: Path) -> dict[str, str]:
    """Short times, one thread (the machine is shared), the same signing key as this process."""
    own = {
        "TESSERA_DATA": str(data),
        "TESSERA_SECRET_KEY": settings.SECRET_KEY,
        "TESSERA_LEASE_SECONDS": "5",
        "TESSERA_STALL_SECONDS": "5",
        "TESSERA_LOAD_SECONDS": "60",
        "TESSERA_DRAIN_SECONDS": "0",
        "TESSERA_DEVICE": "cpu",
        "TESSERA_THREADS": "1",
    }
    return {**os.environ, **own}


@contextlib.contextmanager
def database(data: Path) -> Iterator[None]:
    """Use the cluster's database in this thread instead of the one of the tests."""
    before, own = connections["default"], connections.create_connection("default")
    own.settings_dict = {**own.settings_dict, "NAME": str(data / "tessera.sqlite3")}
    connections["default"] = own
    try:
        yield
    finally:
        own.close()
        connections["default"] = before


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
