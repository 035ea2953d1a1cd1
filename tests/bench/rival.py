"""A process that is measured beside this one: the two take turns, so that both meet the machine as it is then.

A machine that others use too gets slower and faster by the minute; one that draws for minutes, and then the other,
would be compared in two different states of it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

READY = "ready"


def begin_when_told() -> None:
    """Called in the process once everything is loaded: waits for its first turn."""
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


def tell(found: object, *moments: float) -> None:
    """The last thing that the process does. `moments`: by its `perf_counter`, before now."""
    sys.stdout.write(json.dumps([found, [*moments, time.perf_counter()]]) + "\n")
    sys.stdout.flush()


class Rival:
    """Runs `code`, which calls `begin_when_told`, works, and calls `tell`. Held but for its turns."""

    def __init__(self, code: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._turns: list[tuple[float, float]] = []
        assert self._process.stdout is not None
        while (line := self._process.stdout.readline()) != READY + "\n":
            if not line:
                raise RuntimeError(f"It ended with {self._process.wait()} before it was ready.")
        os.kill(self._process.pid, signal.SIGSTOP)
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def turn(self, seconds: float) -> None:
        """It works for so long, while we wait."""
        began = time.perf_counter()
        os.kill(self._process.pid, signal.SIGCONT)
        time.sleep(seconds)
        os.kill(self._process.pid, signal.SIGSTOP)
        self._turns.append((began, time.perf_counter()))

    def finish(self) -> tuple[Any, list[float]]:
        """The rest of it: what it told, and the seconds of its own turns until each moment and until its end."""
        began = time.perf_counter()
        os.kill(self._process.pid, signal.SIGCONT)
        assert self._process.stdout is not None
        found, moments = json.loads(self._process.stdout.readlines()[-1])  # one clock for all processes of a machine
        self._turns.append((began, float("inf")))
        return found, [self._worked_until(moment) for moment in moments]

    def _worked_until(self, moment: float) -> float:
        return sum(max(min(end, moment) - start, 0.0) for start, end in self._turns)
