"""Keeps a few child processes alive and ends them all within seconds. Knows neither Django nor what they do."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from core.lifeline import end_with_parent

logger = logging.getLogger(__name__)

STOP_SECONDS = 4.0
FIRST_PAUSE = 0.4
LONGEST_PAUSE = 4.0  # people wait, and whatever it was may be over
STABLE_SECONDS = 10.0  # what cannot start at all dies sooner


@dataclass(slots=True)
class Child:
    """One process that is started again when it ends. Waits longer after each quick death."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    # How to end it at once, and how many seconds SIGTERM gives it to finish what it has in hand.
    at_once: signal.Signals = signal.SIGTERM
    drain_seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0

    def start(self) -> None:
        """Start it in its own session, so that Ctrl-C in the terminal reaches only the supervisor."""
        self.started_at = time.monotonic()
        try:
            self.process = subprocess.Popen(  # noqa: S603 our own command line
                list(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # A supervisor that is killed must not leave servers behind that hold the port and the device.
                preexec_fn=partial(end_with_parent, self.at_once),  # noqa: PLW1509 one call into libc
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._back_off(f"could not be started ({error})")
        else:
            logger.debug("%s is process %d", self.name, self.process.pid)

    def check(self) -> None:
        """Start it again when it has ended and its waiting time is over."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            self._kill_group()
            code, self.process = self.process.returncode, None
            self._back_off(f"ended with {code}")
        if time.monotonic() >= self.restart_at:
            self.start()

    def _back_off(self, reason: str) -> None:
        now = time.monotonic()
        self.deaths = 1 if now - self.started_at > STABLE_SECONDS else self.deaths + 1
        # The exponent is bounded: a child may die thousands of times before somebody looks.
        pause = min(FIRST_PAUSE * 2 ** min(self.deaths - 1, 10), LONGEST_PAUSE)
        self.restart_at = now + pause
        logger.warning("%s %s; it is started again in %.1f s", self.name, reason, pause)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def ask(self, number: signal.Signals) -> None:
        """Ask it, and only it, to end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def finish(self, deadline: float) -> None:
        """Wait until the deadline, then kill what is left of its process group."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(deadline - time.monotonic(), 0.01))
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


@dataclass(slots=True)
class Supervisor:
    """Runs children until `stop` is asked for by a signal: SIGTERM lets them finish what they have in hand.

    SIGINT and SIGHUP do not, also when they come later.
    """

    children: list[Child]
    stopping: bool = field(default=False)
    hurry: bool = field(default=False)

    def start(self) -> None:
        """Take the signals and start everybody."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        for child in self.children:
            child.start()

    def watch(self, until: Callable[[], bool], seconds: float | None = None) -> bool:
        """Keep everybody alive until `until()` is true; false when asked to stop or when `seconds` are over."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self.stopping:
            for child in self.children:
                child.check()
            if until():
                return True
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.2)
        return False

    def drain(self) -> None:
        """Let those finish who have something in hand, while the others go on. Returns at once when in a hurry."""
        busy = [child for child in self.children if child.drain_seconds]
        for child in busy if not self.hurry else ():
            child.ask(signal.SIGTERM)
        end = time.monotonic() + max((child.drain_seconds for child in busy), default=0.0) + STOP_SECONDS
        while not self.hurry and time.monotonic() < end and any(child.alive for child in busy):
            time.sleep(0.1)

    def stop(self) -> None:
        """End everybody within STOP_SECONDS."""
        deadline = time.monotonic() + STOP_SECONDS
        for child in self.children:
            child.ask(child.at_once)
        for child in self.children:
            child.finish(deadline)

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self.stopping = True
        self.hurry = self.hurry or number != signal.SIGTERM
