"""Questions about an error that is nobody's mistake: is the disk full, is the database busy. Shows nothing."""

import errno

from django.db import OperationalError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_WORDS = ("is full", "no space left")
# The last two are what SQLite says when the files beside the database cannot grow or be opened.
BUSY_WORDS = ("locked", "busy", "deadlock", "could not serialize", "disk i/o error", "unable to open database")
# What PostgreSQL and its driver say when the server is away, comes back, or has no connection to give.
AWAY_WORDS = (
    "connection failed",
    "connection refused",
    "could not connect",
    "could not receive data",
    "connection is closed",
    "connection is lost",
    "connection is bad",
    "closed the connection",
    "terminating connection",
    "is starting up",
    "is shutting down",
    "recovery mode",
    "too many clients",
    "remaining connection slots",
    "couldn't get a connection",
    "consuming input failed",
    "timeout expired",
)


def is_full(error: BaseException | None) -> bool:
    """The disk has no room, for a file or for a row."""
    return _speaks(error, FULL_WORDS) or (isinstance(error, OSError) and error.errno in FULL)


def is_busy(error: BaseException | None) -> bool:
    """The database does not answer now and may in a moment. A column that is missing will be missing then too."""
    return _speaks(error, BUSY_WORDS) or is_away(error)


def is_away(error: BaseException | None) -> bool:
    """The server of the database is not there, or has hung up: only a fresh connection can help."""
    return _speaks(error, AWAY_WORDS)


def is_cache_away(error: BaseException | None) -> bool:
    """Redis does not answer. Told by name, since its library is there only where it is used."""
    return any(kind.__module__ == "redis.exceptions" and kind.__name__ == "RedisError" for kind in type(error).__mro__)


def _speaks(error: BaseException | None, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, OperationalError) and any(word in text for word in words)
