"""`manage.py make_certificate`: a certificate for trying out signed pictures, made here and trusted by nobody yet."""

import os
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from generation.engines.certificates import development_certificate, soon

CERTIFICATE, KEY, ANCHOR = "certificate.pem", "key.pem", "anchor.pem"
LONGEST_NAME = 64  # X.520
DAYS = 3650
WRONG_WISH = 2


class Command(BaseCommand):
    """Three files in a folder of their own."""

    help = "Make a development certificate for C2PA signing. Real ones come from a certificate authority."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where, for whom, how long."""
        parser.add_argument("--folder", type=Path, help="where to put it (default: c2pa in the data folder)")
        parser.add_argument("--name", default="Tessera development", help="organization that is written into it")
        parser.add_argument("--days", type=int, default=365, help="how long it is valid (default: 365)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make, write, tell what to set."""
        name, days = options["name"].strip(), options["days"]
        if not 1 <= len(name) <= LONGEST_NAME:
            raise CommandError(f"--name takes 1 to {LONGEST_NAME} characters.", returncode=WRONG_WISH)
        if not 1 <= days <= DAYS:
            raise CommandError(f"--days is {days}; use a whole number from 1 to {DAYS}.", returncode=WRONG_WISH)
        folder = (options["folder"] or settings.DATA / "c2pa").expanduser().resolve()
        begins, ends = soon(datetime.now(UTC), days)
        made = development_certificate(name=name, begins=begins, ends=ends)
        write(folder, {KEY: (made.key, 0o600), CERTIFICATE: (made.chain, 0o644), ANCHOR: (made.anchor, 0o644)})
        self.stdout.write(
            f"Made for '{name}', valid until {ends:%d %B %Y}. To sign every download, start the portal with\n\n"
            f"  TESSERA_C2PA_CERTIFICATE={folder / CERTIFICATE}\n  TESSERA_C2PA_KEY={folder / KEY}\n\n"
            f"Nobody trusts it but who was given {folder / ANCHOR}. Use a certificate of an authority for more."
        )


def write(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """All or none, and never over a file that is there: a key that is lost is lost for good."""
    written: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, (content, mode) in files.items():
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(folder / name)
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(handle, mode)  # whatever the umask took away
                stream.write(content)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            hint = "It is never overwritten: use another --folder, or move it away."
            raise CommandError(f"{error.filename} is there already. {hint}", returncode=WRONG_WISH) from error
        raise CommandError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
