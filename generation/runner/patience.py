"""Waiting out a locked database or a full disk: a finished picture must not be lost because of a bad moment."""

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
# The last is what SQLite says when the index of its log cannot grow
PASSING = ("locked", "busy", "deadlock", "could not serialize", "disk i/o error")
FULL = ("is full", "no space left")


def patiently(action: Callable[[], T], *, touch: Callable[[], None], seconds: float = SECONDS) -> T:
    """Do `action` again while the database is locked or full, at most for `seconds`; `touch` is called each time."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        touch()
        try:
            return action()
        except OperationalError as error:
            if not (_speaks(error, PASSING) or is_full(error)) or time.monotonic() > deadline:
                raise
            logger.warning("The database cannot be written, trying again: %s", error)
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def is_full(error: Exception) -> bool:
    """The disk has no room for a row."""
    return isinstance(error, OperationalError) and _speaks(error, FULL)


def _speaks(error: Exception, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(word in text for word in words)
