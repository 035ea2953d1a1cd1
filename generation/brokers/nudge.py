"""A nudge from who rang a bell in the database to who looks for bells: without it, it would be found at the next look.

One datagram socket of this machine for each queue. A nudge carries nothing, and one that is lost, early or too many is
harmless: the database is looked at every fraction of a second anyway.
"""

import logging
import os
import select
import socket
from contextlib import suppress
from pathlib import Path

from core.unixsocket import socket_path

logger = logging.getLogger(__name__)


def _path(folder: Path, queue: str) -> Path:
    return socket_path(folder, f"{queue}.bell")


class Ear:
    """Held by the one process that takes the bells of this queue on this machine."""

    def __init__(self, folder: Path, queue: str) -> None:
        path = _path(folder, queue)
        path.unlink(missing_ok=True)  # of one that is dead, or will look for itself from now on
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)

    def wait(self, seconds: float) -> None:
        """Until somebody nudges, at most so long. All nudges until now are one."""
        if select.select([self._socket], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                while True:
                    self._socket.recv(1)

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def nudge(folder: Path, queue: str) -> None:
    """Let who takes the bells of this queue look now, if it is on this machine. Never raises, never waits."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)
            mouth.sendto(b"\0", str(_path(folder, queue)))
    except OSError as error:
        logger.debug("Nobody was nudged for %s: %s", queue, error)
