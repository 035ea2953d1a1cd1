"""The ordinary settings, but a locked database is not waited for inside SQLite, so that a test may hold the lock."""

from config.settings import *  # noqa: F403
from config.settings import DATABASES

DATABASES["default"]["OPTIONS"]["timeout"] = 0.2  # type: ignore[index]
