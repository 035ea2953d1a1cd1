"""`make load` in small: nobody's socket breaks, nothing is refused, every request is drawn. No time is asserted."""

import asyncio
from pathlib import Path

from tests.load import __main__ as load
from tests.portal import Portal


def test_everybody_is_served_while_some_never_read(tmp_path: Path) -> None:
    sizes = load.Sizes(sockets=load.SILENT + 20, streams=4, askers=2, requests=4, browsers=4)
    portal = Portal(tmp_path / "data", settings={"TESSERA_THREADS": "1", "TESSERA_LOG_LEVEL": "WARNING"}).start()
    try:
        rows = {row.name: row for row in asyncio.run(load.play(portal, sizes, alone_requests=2))}
    finally:
        portal.stop()
    for name in ("pages refused", "requests completed", "sockets that broke"):
        assert rows[name].holds, rows[name]
    assert rows["fragment made to received, p99"].value < float("inf"), "fragments came"
