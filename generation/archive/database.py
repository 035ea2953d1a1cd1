"""The database into files and back, whichever kind it is; the kinds are in sqlite and postgresql."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.db import connection
from django.db.migrations.loader import MigrationLoader

from generation.archive import postgresql, sqlite
from generation.archive.manifest import ArchiveError, Manifest

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copied database: its `files`, and what it said at that moment. Names of pictures are relative to the media."""

    files: list[Path]
    pictures: list[str]
    uploads: list[str]
    migrations: dict[str, list[str]]


class Kind(Protocol):
    """What a kind of database can do. All raise ArchiveError or DatabaseError."""

    def write(self, folder: Path) -> tuple[list[Path], list[str], list[str], dict[str, list[str]]]:
        """Copy the live one into `folder` as of one moment, however busily it is written to."""

    def named(self, folder: Path) -> Iterable[str]:
        """Files of pictures and uploads that the copy in `folder` names, if that can be told before it is put back."""

    def is_in_use(self) -> bool:
        """Whether the live one holds anybody yet."""

    def replace(self, folder: Path, aside: Path, migrations: dict[str, list[str]]) -> None:
        """Put the copy, with these migrations applied, in the place of the live one, which goes `aside`."""


KINDS: dict[str, type[Kind]] = {"sqlite": sqlite.Sqlite, "postgresql": postgresql.Postgresql}


def kind() -> Kind:
    """That of this portal."""
    if connection.vendor not in KINDS:
        raise ArchiveError(f"A {connection.vendor} database cannot be put into an archive.")
    return KINDS[connection.vendor]()


def snapshot_write(folder: Path) -> Snapshot:
    """Copy the live database."""
    return Snapshot(*kind().write(folder))


def check_migrations(manifest: Manifest) -> None:
    """This version must know every migration of the archive: it can migrate forward, not back. Raises ArchiveError."""
    if manifest.engine != connection.vendor:
        raise ArchiveError(
            f"The archive is of {manifest.engine}, this portal's database is {connection.vendor}.",
            hint="Restore it into a portal with the same kind of database.",
        )
    known = set(MigrationLoader(None).disk_migrations or ())
    strange = [(app, name) for app, names in manifest.migrations.items() for name in names if (app, name) not in known]
    if strange:
        raise ArchiveError(
            f"The archive was made by another version: this one does not know the migration {' '.join(strange[0])}.",
            hint="Update Tessera first, then restore.",
        )


def check_named(folder: Path, manifest: Manifest) -> None:
    """Every picture that the copied database names is in the archive, or known not to be. Raises ArchiveError."""
    there = {name.partition("/")[2] for name in manifest.names("media")} | {*manifest.gone, *manifest.lost}
    if lacking := sorted(set(kind().named(folder)) - there):
        raise ArchiveError(
            f"{len(lacking)} pictures are named by the archive's database and not in it: "
            f"{', '.join(lacking[:MOST_NAMED])}.",
            hint="Use another copy of the archive.",
        )
