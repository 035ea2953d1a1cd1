"""Writing an archive while the portal runs: the database first, as of one moment, then every file that it names.

Pictures never change once they have a row, so the files that the database names are those of that moment. One that was
deleted for good in between is noted as gone.
"""

import contextlib
import hashlib
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection
from django.utils import timezone

from generation import storage
from generation.archive.database import snapshot_write
from generation.archive.manifest import DATABASE, KEYS, MANIFEST, MEDIA, ArchiveError, Manifest, Member
from generation.models import Image, Upload

ROWS = 500
CHUNK = 1024 * 1024
LEVEL = 6  # of the database; pictures are compressed already


def archive_write(target: Path, *, keys: bool = True) -> Manifest:
    """Write `target` (mode 0600), whole or not at all, never over a file that is there. Raises ArchiveError.

    `keys`: with the secret key of this installation and what lies in `c2pa`, where they are files of the data folder.
    """
    if target.exists():
        raise ArchiveError(f"{target} is there already.", hint="It is not overwritten: choose another name.")
    part = target.with_name(f".{target.name}.part")
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(part.unlink, missing_ok=True)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent)))
            stream = stack.enter_context(os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b"))
            os.fchmod(stream.fileno(), 0o600)
            manifest = _write(stream, folder, keys=keys)
            stream.flush()
            os.fsync(stream.fileno())
            os.link(part, target)  # refuses a name that somebody took meanwhile
    except OSError as error:
        raise ArchiveError(f"{target} cannot be written: {error.strerror or error}.") from error
    return manifest


@dataclass
class _Pack:
    archive: zipfile.ZipFile
    members: dict[str, Member] = field(default_factory=dict)

    def add(self, name: str, file: Path, *, packed: bool = False) -> None:
        """A file of this machine."""
        with file.open("rb") as source:
            self._copy(name, source, packed=packed)

    def add_stored(self, name: str) -> bool:
        """A picture, or its thumbnail, wherever they are kept; false when it is not there."""
        try:
            data = storage.read(name)  # whole, before anything of it is in the archive
        except FileNotFoundError:
            return False
        self._copy(f"{MEDIA}/{name}", io.BytesIO(data), packed=False)
        return True

    def _copy(self, name: str, source: IO[bytes], *, packed: bool) -> None:
        entry = zipfile.ZipInfo(name, timezone.now().timetuple()[:6])
        entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        entry.external_attr = 0o600 << 16
        digest, size = hashlib.sha256(), 0
        with self.archive.open(entry, "w", force_zip64=True) as out:
            while chunk := source.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        self.members[name] = Member(size, digest.hexdigest())


def _write(stream: IO[bytes], folder: Path, *, keys: bool) -> Manifest:
    made_at, found = timezone.now().isoformat(), snapshot_write(folder)
    with zipfile.ZipFile(stream, "w", compresslevel=LEVEL) as archive:
        pack, missing = _Pack(archive), list[str]()
        for file in found.files:
            pack.add(f"{DATABASE}/{file.name}", file, packed=True)
        for name in found.pictures:
            if pack.add_stored(name):
                pack.add_stored(storage.thumb_name(name))
            else:
                missing.append(name)
        missing += [name for name in found.uploads if not pack.add_stored(name)]
        for key in _keys() if keys else ():
            pack.add(f"{KEYS}/{key.relative_to(settings.DATA).as_posix()}", key)
        lost = _lost(missing)
        gone = sorted(set(missing) - set(lost))
        manifest = Manifest(made_at, connection.vendor, found.migrations, pack.members, gone, lost)
        archive.writestr(MANIFEST, manifest.to_json(), zipfile.ZIP_DEFLATED)
    return manifest


def _keys() -> list[Path]:
    data = Path(settings.DATA)
    return [file for file in (data / "secret-key", *sorted((data / "c2pa").glob("*"))) if file.is_file()]


def _lost(missing: list[str]) -> list[str]:
    """Of files that are missing those whose row is there still: nobody deleted them."""
    return [
        name
        for start in range(0, len(missing), ROWS)
        for table in (Image, Upload)
        for name in table.objects.filter(file__in=missing[start : start + ROWS]).values_list("file", flat=True)
    ]
