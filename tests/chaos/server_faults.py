"""Where the portal stands on PostgreSQL and Redis: one of them goes away in mid-picture and comes back."""

import signal
from collections.abc import Callable

from django.db import connection, connections

from tests.chaos.faults import Fault
from tests.chaos.rounds import Round
from tests.servers import Server


def _redis(*, keep: bool) -> Callable[[Round], None]:
    """Killed, and started with what it held, or empty. Somebody sends a wish while it is away."""

    def act(now: Round) -> None:
        now.stage.until(now.accept(), "running")
        server = now.stage.servers["redis"]
        file = server.folder / "dump.rdb"
        file.unlink(missing_ok=True)
        if keep:
            now.stage.save_redis()
        server.kill()
        now.accept()
        now.strike(server.start)

    return act


def _postgres(number: signal.Signals) -> Callable[[Round], None]:
    def act(now: Round) -> None:
        now.stage.until(now.accept(), "running")
        now.strike(lambda: restart(now.stage.servers["postgres"], number))

    return act


def restart(server: Server, number: signal.Signals) -> None:
    """And let go of our own connections, which are dead."""
    server.stop(number)
    server.start()
    connections.close_all()
    if close_pool := getattr(connection, "close_pool", None):
        close_pool()


SERVER_FAULTS = (
    Fault("Redis restarted with its data", _redis(keep=True), remark="from its start on"),
    Fault("Redis restarted without its data", _redis(keep=False), remark="from its start on"),
    Fault("PostgreSQL restarted", _postgres(signal.SIGINT)),
    Fault("PostgreSQL crashes and is started again", _postgres(signal.SIGQUIT)),
)
