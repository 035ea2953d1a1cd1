"""What is done to the portal, each at its moment. A fault submits what it needs, strikes, and says what may fail."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.rounds import Round


@dataclass(frozen=True, slots=True)
class Fault:
    """`act` strikes in a round. `failures`: how many requests may fail with a reason; all others must complete."""

    name: str
    act: Callable[[Round], None]
    failures: int = 0


def _killed(role: str) -> Callable[[Round], None]:
    """While a picture is drawn."""

    def act(now: Round) -> None:
        now.stage.until(now.accept(), "running")
        now.strike(lambda: os.kill(now.stage.pid(role), signal.SIGKILL))

    return act


FAULTS = (
    Fault("web killed", _killed("web")),
    Fault("cluster's parent killed", _killed("cluster")),
    Fault("sentinel killed", _killed("sentinel")),
    Fault("busy worker killed", _killed("worker")),
    Fault("room killed while it draws", _killed("room")),
)
