"""PostgreSQL, table by table, by its own COPY in one transaction: no program beside the driver is needed.

A file per table: its columns as a line of JSON, then what COPY gives. It is put back into tables that migrations of the
archive's own time have made, all in one transaction.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import DatabaseError

from accounts.models import User
from generation.archive.manifest import DATABASE, ArchiveError
from generation.models import Image, Upload

ENDING = ".copy"
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
MIGRATIONS = MigrationRecorder.Migration._meta.db_table


class Postgresql:
    """Whoever writes meanwhile is not held up: the transaction sees the moment at which it began."""

    def write(self, folder: Path) -> tuple[list[Path], list[str], list[str], dict[str, list[str]]]:
        """One file per table."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(ONE_MOMENT)
            files = [_copy_out(cursor, table, folder / f"{table}{ENDING}") for table in _tables()]
            pictures = list(Image.objects.values_list("file", flat=True))
            uploads = list(Upload.objects.values_list("file", flat=True))
            return files, pictures, uploads, _migrations()

    def named(self, folder: Path) -> Iterable[str]:
        """From the files: the column of that name."""
        for table in (Image._meta.db_table, Upload._meta.db_table):
            with (folder / f"{table}{ENDING}").open(encoding="utf-8") as lines:
                place = json.loads(next(lines)).index("file")
                yield from (line.rstrip("\n").split("\t")[place] for line in lines)

    def is_in_use(self) -> bool:
        """Somebody is in it."""
        try:
            with transaction.atomic():
                return User.objects.exists()
        except DatabaseError:
            return False  # there are no tables yet

    def replace(self, folder: Path, aside: Path, migrations: dict[str, list[str]]) -> None:
        """What was there is written aside first, in the same form."""
        if _tables():
            (aside / DATABASE).mkdir(mode=0o700)
            self.write(aside / DATABASE)
        with transaction.atomic(), connection.cursor() as cursor:
            for table in _tables():
                cursor.execute(f"DROP TABLE {_quoted(table)} CASCADE")
            _make_tables(migrations)
            tables = _tables()
            cursor.execute(f"TRUNCATE {', '.join(map(_quoted, tables))}")  # migrations fill some
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")  # some migrations make them look at once
            for file in sorted(folder.glob(f"*{ENDING}")):
                if file.stem not in tables:
                    raise ArchiveError(f"The archive has a table {file.stem}, which its migrations do not make.")
                _copy_in(cursor, file.stem, file)
            _count_on(cursor)


def _tables() -> list[str]:
    """Django's, as far as they are there."""
    there = set(connection.introspection.table_names())
    ours = {*connection.introspection.django_table_names(only_existing=True, include_views=False), MIGRATIONS}
    return sorted(there & ours)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _copy_out(cursor: Any, table: str, file: Path) -> Path:
    columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
    wanted = ", ".join(map(_quoted, columns))
    with file.open("wb") as out, cursor.copy(f"COPY {_quoted(table)} ({wanted}) TO STDOUT") as copy:
        out.write(json.dumps(columns).encode() + b"\n")
        for block in copy:
            out.write(block)
    return file


def _copy_in(cursor: Any, table: str, file: Path) -> None:
    with file.open("rb") as source:
        columns = ", ".join(_quoted(str(column)) for column in json.loads(source.readline()))
        with cursor.copy(f"COPY {_quoted(table)} ({columns}) FROM STDIN") as copy:
            while block := source.read(1024 * 1024):
                copy.write(block)


def _make_tables(migrations: dict[str, list[str]]) -> None:
    """As they were when the archive was written."""
    executor = MigrationExecutor(connection)
    executor.migrate([(app, names[-1]) for app, names in migrations.items()])


def _count_on(cursor: Any) -> None:
    """Numbers that the database gives go on after the highest that came back."""
    for table in _tables():
        for sequence in connection.introspection.get_sequences(cursor, table):
            column = _quoted(str(sequence["column"]))
            highest = f"(SELECT COALESCE(MAX({column}), 0) + 1 FROM {_quoted(table)})"  # noqa: S608 our own names
            count_on = f"SELECT setval(pg_get_serial_sequence(%s, %s), {highest}, false)"  # noqa: S608
            cursor.execute(count_on, [_quoted(table), sequence["column"]])


def _migrations() -> dict[str, list[str]]:
    applied: dict[str, list[str]] = {}
    for app, name in MigrationRecorder(connection).migration_qs.order_by("id").values_list("app", "name"):
        applied.setdefault(app, []).append(name)
    return applied
