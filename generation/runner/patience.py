"""Waiting out a locked database or a full disk: a finished picture must not be lost because of a bad moment."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection

from core.outage import is_away, is_busy, is_full

logger = logging.getLogger(__name__)

T = TypeVar("T")
SECONDS = 120.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0


def patiently(action: Callable[[], T], *, touch: Callable[[], None], seconds: float = SECONDS) -> T:
    """Do `action` again while the database is locked or full, at most for `seconds`; `touch` is called each time."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        touch()
        try:
            return action()
        except OperationalError as error:
            if not (is_busy(error) or is_full(error)) or time.monotonic() > deadline:
                raise
            logger.warning("The database cannot be written, trying again: %s", error)
            if is_away(error) and not connection.in_atomic_block:
                connection.close()
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
