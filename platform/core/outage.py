"""Two questions about an error that is nobody's mistake: is the disk full, is the database busy. Shows nothing."""

import errno

from django.db import OperationalError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_WORDS = ("is full", "no space left")
# The last two are what SQLite says when the files beside the database cannot grow or be opened.
BUSY_WORDS = ("locked", "busy", "deadlock", "could not serialize", "disk i/o error", "unable to open database")


def is_full(error: BaseException | None) -> bool:
    """The disk has no room, for a file or for a row."""
    return _speaks(error, FULL_WORDS) or (isinstance(error, OSError) and error.errno in FULL)


def is_busy(error: BaseException | None) -> bool:
    """The database does not answer now and may in a moment. A column that is missing will be missing then too."""
    return _speaks(error, BUSY_WORDS)


def _speaks(error: BaseException | None, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, OperationalError) and any(word in text for word in words)
