"""Waiting out a locked database: a finished picture must not be lost because somebody else writes just now."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError

logger = logging.getLogger(__name__)

T = TypeVar("T")
SECONDS = 120.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
WORDS = ("locked", "busy", "deadlock", "could not serialize")


def patiently(action: Callable[[], T], *, touch: Callable[[], None], seconds: float = SECONDS) -> T:
    """Do `action` again while the database is locked, at most for `seconds`; `touch` is called before each try."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        touch()
        try:
            return action()
        except OperationalError as error:
            if not _is_lock(error) or time.monotonic() > deadline:
                raise
            logger.warning("The database is locked, trying again: %s", error)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _is_lock(error: OperationalError) -> bool:
    text = str(error).lower()
    return any(word in text for word in WORDS)
