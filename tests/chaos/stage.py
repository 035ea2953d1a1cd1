"""A real portal to be hurt: `manage.py run` on its own data folder and port, a tiny checkpoint, three people."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from accounts.models import User
from generation.engines.mosaic import Mosaic
from generation.models import Checkpoint, Device, GenerationRequest, Project
from generation.services.checkpoints import checkpoint_register
from generation.services.requests import request_submit
from tests.chaos.clock import Clock
from tests.chaos.visitor import Visitor
from tests.generation.cluster import environment
from tests.generation.engines.tiny import save_janus
from tests.portal import Portal
from tests.servers import Server

PATIENCE = 180.0  # seconds for what takes a few: a machine may be busy
STILL_SECONDS = 4.0  # longer than any look at the portal takes: the machine did not run this process
PICTURES = 2
GRID = 16  # with so many tokens that there is time to be in mid-picture
MARKS = ("manage.py", "core.bounded_daphne", "generation.engines.room")  # in the command lines of the portal
PEOPLE = ("ann", "ben", "cleo")
ROLES = ("web", "cluster", "sentinel", "worker", "monitor", "pusher", "room")


class OverdueError(AssertionError):
    """Something that must come did not."""


@dataclass
class Stage:
    """The portal, and its database, to which this process must be connected."""

    data: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    clock: Clock | None = None
    small: bool = False  # whether its disk can be filled
    servers: Mapping[str, Server] = field(default_factory=dict)  # that it stands on: postgres, redis
    # How another thread of this process gets at the database
    connected: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    portal: Portal = field(init=False)
    checkpoint: Checkpoint = field(init=False)
    people: list[User] = field(init=False)
    stood_still: float = 0.0
    _next: int = 0
    _hours: int = 0

    def __post_init__(self) -> None:
        own = {name: value for name, value in environment(self.data).items() if name.startswith("TESSERA_")}
        moved = self.clock.environment if self.clock else {}
        drain = {"TESSERA_DRAIN_SECONDS": "30"}
        self.portal = Portal(self.data, settings={**own, **drain, **moved, **self.settings})

    def open(self) -> None:
        """Start it for the first time, with everything that requests need."""
        save_tiny(self.data.parent / "tiny")
        self.portal.start(seconds=PATIENCE)
        self.checkpoint = checkpoint_register(path=self.data.parent / "tiny", name="tiny")
        self.people = [User.objects.create_user(f"{name}@example.org") for name in PEOPLE]
        for person in self.people:
            Project.objects.get_or_create(owner=person, kind=Project.Kind.PERSONAL, name="Personal")

    def close(self) -> None:
        """End it, however hurt it is. Harmless when it never began."""
        hurt = self.everybody()
        self.portal.stop(signal.SIGKILL)
        for process in hurt:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def accept(self, *, count: int = PICTURES) -> GenerationRequest:
        """A request of the next person, taken by the front door of the services."""
        person, self._next = self.people[self._next % len(self.people)], self._next + 1
        project = Project.objects.get(owner=person, kind=Project.Kind.PERSONAL)
        params = {"prompt": "a cat on blue", "width": 32, "height": 32, "count": count, "seed": self._next}
        return request_submit(user=person, project=project, checkpoint=self.checkpoint, params=params)

    def visit(self) -> int:
        """The same by the page; what it answered. Raises OSError."""
        person, self._next = self.people[self._next % len(self.people)], self._next + 1
        project = Project.objects.get(owner=person, kind=Project.Kind.PERSONAL)
        return Visitor(self.portal.url, person).ask(project, self.checkpoint, "a cat on blue")

    def hours(self, more: int) -> int:
        """How many the portal's clock is away from ours after `more`."""
        self._hours += more
        return self._hours

    def save_redis(self) -> None:
        """What it holds goes into its file, from which it starts."""
        import redis

        with redis.Redis.from_url(os.environ["TESSERA_REDIS_URL"]) as client:
            client.save()

    def kill_supervisor(self) -> None:
        """Only it; who lives below must end by themselves."""
        assert self.portal.process is not None
        self.portal.process.kill()
        self.portal.process.wait()

    def interrupt(self) -> None:
        """Ctrl-C reaches the supervisor alone."""
        assert self.portal.process is not None
        self.portal.process.send_signal(signal.SIGINT)
        self.portal.process.wait()

    def terminate_all(self) -> None:
        """Every process of the portal at once."""
        for process in self.everybody():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        assert self.portal.process is not None
        self.portal.process.wait()

    def restart(self, pause: float) -> None:
        """As a service manager does: again and again until it stays."""
        while True:
            time.sleep(pause)
            self.portal.begin()
            process = self.portal.process
            assert process is not None
            self.wait(lambda process=process: process.poll() is not None or self.portal.is_ready(), "a start")
            if process.poll() is None:
                return

    def family(self) -> dict[str, int]:
        """Process numbers by role, of those that live below the supervisor."""
        found: dict[str, int] = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in self.portal.children():
                if "core.bounded_daphne" in child.cmdline():
                    found["web"] = child.pid
                elif "cluster" in child.cmdline():
                    found |= {"cluster": child.pid, **_inside(child)}
        return found

    def pid(self, role: str) -> int:
        """Of one of ROLES, waited for."""
        self.wait(lambda: role in self.family(), f"a {role}")
        return self.family()[role]

    def everybody(self) -> list[psutil.Process]:
        """Whoever runs on this data folder, wherever it hangs in the tree of processes."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = any(mark in " ".join(process.cmdline()) for mark in MARKS)
                if ours and process.environ().get("TESSERA_DATA") == str(self.data):
                    found.append(process)
        return found

    def orphans(self) -> list[psutil.Process]:
        """Who runs on this data folder and does not belong to the supervisor that runs now."""
        process = self.portal.process
        ours = {one.pid for one in self.portal.family()} | ({process.pid} if process else set())
        return [one for one in self.everybody() if one.pid not in ours]

    def is_idle(self) -> bool:
        """Nobody waits and nothing is drawn."""
        return not GenerationRequest.objects.open().exists() and not Device.objects.exclude(drawing=None).exists()

    def calm_down(self) -> None:
        """Until everybody is there and nobody waits."""
        self.wait(lambda: self.is_idle() and set(self.family()) == set(ROLES), "peace")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE, pause: float = 0.02) -> None:
        """Look often. Notes in `stood_still` how long this very process was not let run, which counts for nothing."""
        looked = time.monotonic()
        end = looked + seconds
        while not condition():
            gap, looked = time.monotonic() - looked, time.monotonic()
            if gap > STILL_SECONDS:
                self.stood_still += gap
                end += gap
            if looked > end:
                raise OverdueError(f"waited {seconds:g} s in vain for {what}")
            time.sleep(pause)
        if (gap := time.monotonic() - looked) > STILL_SECONDS:
            self.stood_still += gap

    def until(self, request: GenerationRequest, *states: str, attempt: int | None = None) -> None:
        """The request is in one of these states, and in that attempt if one is given."""
        row = GenerationRequest.objects.filter(pk=request.pk, state__in=states)
        row = row if attempt is None else row.filter(attempt=attempt)
        self.wait(row.exists, f"{request.pk} {'/'.join(states)}")


def save_tiny(target: Path) -> None:
    """Untrained, and made of 2-pixel tiles."""
    tiles = np.random.default_rng(3).integers(0, 256, (21, 2, 2, 4), dtype=np.uint8)
    mosaic = Mosaic(("white",), np.full((1, 3), 255, dtype=np.uint8), tiles, (GRID, GRID))
    save_janus(target, image_tokens=mosaic.tokens, codes=mosaic.codes, mosaic=mosaic)


def _inside(cluster: psutil.Process) -> dict[str, int]:
    """The sentinel forks worker, monitor and pusher in this order; the worker starts the room."""
    found: dict[str, int] = {}
    for sentinel in cluster.children():
        found["sentinel"] = sentinel.pid
        forked = sorted(sentinel.children(), key=lambda one: (one.create_time(), one.pid))
        found |= {role: child.pid for role, child in zip(("worker", "monitor", "pusher"), forked, strict=False)}
        for room in forked[0].children() if forked else []:
            found["room"] = room.pid
    return found
