"""`manage.py restore FILE`: the portal as an archive has it. The portal must not run meanwhile."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from core.errors import TesseraError
from generation.archive.manifest import KEYS, MEDIA
from generation.archive.reading import archive_restore, unpacked
from generation.management.commands.run import database_trouble, only_supervisor


class Command(BaseCommand):
    """Everything is checked before anything is touched."""

    help = "Put database, pictures and keys back as an archive of `manage.py backup` has them. Stop the portal first."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """From where, and how bold."""
        parser.add_argument("file", type=Path, help="an archive of `manage.py backup`")
        parser.add_argument("--force", action="store_true", help="replace what is there; it is put aside, not deleted")
        parser.add_argument("--check", action="store_true", help="only look whether the archive is whole and fits")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check or restore."""
        source: Path = options["file"].expanduser().resolve()
        data = Path(settings.DATA)
        try:
            if options["check"]:
                with unpacked(source, data) as (manifest, _):
                    return self.stdout.write(f"{source} of {manifest.made_at} is whole and fits this version.")
            with only_supervisor(data):
                manifest, laid_aside = archive_restore(source, force=options["force"])
        except TesseraError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(database_trouble(error)) from error
        self.stdout.write(f"Restored as of {manifest.made_at}, with {len(manifest.names(MEDIA))} files of pictures.")
        if not manifest.names(KEYS):
            self.stdout.write("The archive has no secret key: everybody has to log in again.")
        if laid_aside:
            places = " and ".join(map(str, laid_aside))
            self.stdout.write(f"What was there before lies in {places}; delete it when all is well.")
        return None
