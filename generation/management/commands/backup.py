"""`manage.py backup FILE`: the whole portal in one archive, while it runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from core.errors import TesseraError
from generation.archive.manifest import KEYS, MEDIA
from generation.archive.writing import archive_write

WITH_KEYS = "The secret key is in it: whoever reads it can log in as anybody."
WITHOUT_KEYS = "No secret key is in it: after a restore elsewhere everybody logs in anew."


class Command(BaseCommand):
    """Database and pictures as of one moment."""

    help = "Write database, pictures and keys into one archive. The portal may run. Checkpoints are not in it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to, and with what."""
        parser.add_argument("file", type=Path, help="the archive to write; nothing is overwritten")
        parser.add_argument("--without-keys", action="store_true", help="leave out the secret key and data/c2pa")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write, say what is in it."""
        target: Path = options["file"].expanduser().resolve()
        try:
            manifest = archive_write(target, keys=not options["without_keys"])
        except (TesseraError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        size, files = target.stat().st_size / 1_000_000, len(manifest.names(MEDIA))
        secret = WITH_KEYS if manifest.names(KEYS) else WITHOUT_KEYS
        self.stdout.write(f"{target}: {size:.1f} MB, {files} files of pictures. {secret}")
        for name in manifest.lost:
            self.stderr.write(f"Not in it, since it is missing: {name}")
