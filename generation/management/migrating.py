"""Migrations at a start: all or nothing where the database can, one process at a time where there are several."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connection, transaction

LOCK = 0x7E55E7A  # any number; all processes of one database agree on it


@contextmanager
def alone() -> Iterator[None]:
    """No other machine prepares this database meanwhile. On SQLite there is no other machine."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def migrate() -> None:
    """Bring the tables to what this version needs.

    On SQLite all or nothing: Django alone notes some migrations after their commit, and would find their tables there
    the next time when a kill or a full disk comes between. It cannot switch its checks off within a transaction.
    PostgreSQL keeps each migration whole by itself, and refuses to change a table whose rows changed just before.
    """
    if connection.vendor != "sqlite":
        call_command("migrate", verbosity=0)
        return
    with connection.constraint_checks_disabled(), transaction.atomic():
        call_command("migrate", verbosity=0)
