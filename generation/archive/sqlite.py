"""SQLite's own online backup: the database as it is at one moment, and nobody waits for it."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from generation.archive.manifest import ArchiveError
from generation.models import Image, Upload

FILE = "database.sqlite3"
BESIDE = ("-wal", "-shm", "-journal", "")  # the database last: without it the others mean nothing


class Sqlite:
    """One file, and in WAL mode two more beside it."""

    def write(self, folder: Path) -> tuple[list[Path], list[str], list[str], dict[str, list[str]]]:
        """One step of the online backup is one read transaction: in WAL mode writers go on meanwhile."""
        target = folder / FILE
        connection.ensure_connection()
        with closing(sqlite3.connect(target)) as copy:
            connection.connection.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
            pictures, uploads = _files_of(copy, Image), _files_of(copy, Upload)
            return [target], pictures, uploads, _migrations(copy)

    def named(self, folder: Path) -> Iterable[str]:
        """Also looks whether it is sound."""
        try:
            with closing(sqlite3.connect(folder / FILE)) as copy:
                (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
                if verdict != "ok":
                    raise ArchiveError(f"The database in the archive is damaged: {verdict}.")
                return [*_files_of(copy, Image), *_files_of(copy, Upload)]
        except sqlite3.DatabaseError as error:
            raise ArchiveError(f"The database in the archive cannot be read: {error}.") from error

    def is_in_use(self) -> bool:
        """Read without making one."""
        path = _path()
        if not path.exists():
            return False
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as live:
                return live.execute("SELECT 1 FROM accounts_user LIMIT 1").fetchone() is not None
        except sqlite3.DatabaseError:
            return path.stat().st_size > 0 and not _is_empty(path)

    def replace(self, folder: Path, aside: Path, migrations: dict[str, list[str]]) -> None:
        """Two renames: the old one is whole at every moment, here or there."""
        connection.close()
        live = _path()
        for end in BESIDE:
            if (old := live.with_name(live.name + end)).exists():
                old.rename(aside / old.name)
        (folder / FILE).rename(live)


def _path() -> Path:
    return Path(str(connection.settings_dict["NAME"]))


def _is_empty(path: Path) -> bool:
    """A database without tables, as one that was only looked at. What cannot be read may be worth keeping."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as live:
            return live.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    except sqlite3.DatabaseError:
        return False


def _files_of(copy: sqlite3.Connection, table: type[Image] | type[Upload]) -> list[str]:
    return [file for (file,) in copy.execute(f"SELECT file FROM {table._meta.db_table}")]  # noqa: S608 our own name


def _migrations(copy: sqlite3.Connection) -> dict[str, list[str]]:
    table = MigrationRecorder.Migration._meta.db_table
    applied: dict[str, list[str]] = {}
    for app, name in copy.execute(f"SELECT app, name FROM {table} ORDER BY id"):  # noqa: S608 our own name
        applied.setdefault(app, []).append(name)
    return applied
