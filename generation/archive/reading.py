"""Reading an archive back. All is unpacked beside the data and checked before anything of the portal is touched."""

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from generation import storage
from generation.archive.database import check_migrations, check_named, kind
from generation.archive.manifest import (
    DAMAGED,
    DATABASE,
    KEYS,
    MANIFEST,
    MANIFEST_LIMIT,
    MEDIA,
    ArchiveError,
    Manifest,
    read_manifest,
)
from generation.models import Image, Upload

CHUNK = 1024 * 1024
KEY = "secret-key"
SPARE = 64 * 1024 * 1024  # bytes that stay free of the disk


@contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[tuple[Manifest, Path]]:
    """What the archive holds, checked, in a folder inside `beside` that goes afterwards. Raises ArchiveError."""
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = _manifest(archive)
            check_migrations(manifest)
            _require_room(beside, manifest.size())
            with tempfile.TemporaryDirectory(prefix=".restoring-", dir=beside) as name:
                folder = Path(name)
                for member in manifest.members:
                    _unpack(archive, manifest, member, folder)
                check_named(folder / DATABASE, manifest)
                yield manifest, folder
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{source} is no archive of Tessera's, or it is damaged: {error}.", hint=DAMAGED) from error
    except OSError as error:
        raise ArchiveError(f"{error.filename or source} cannot be used: {error.strerror or error}.") from error


def archive_restore(source: Path, *, force: bool) -> tuple[Manifest, Path | None]:
    """Put the portal back as the archive has it; where the former data lie now. Raises ArchiveError.

    Nobody else may use the data meanwhile. `force`: also where there are people or pictures already.
    """
    data = Path(settings.DATA)
    in_use = kind().is_in_use()
    if in_use and not force:
        raise ArchiveError(
            f"There is a portal in {data} already; it was left as it is.",
            hint="With --force it is put aside and replaced.",
        )
    with unpacked(source, data) as (manifest, folder):
        aside = data / f"before-restore-{timezone.now():%Y%m%d-%H%M%S}"
        aside.mkdir(mode=0o700)
        _swap(manifest, folder, data, aside)
    call_command("migrate", verbosity=0)
    _forget(manifest.gone)
    if not in_use and {one.name for one in aside.iterdir()} <= {KEY}:
        shutil.rmtree(aside)  # a key that this very command had made, since there was none
        return manifest, None
    return manifest, aside


def _swap(manifest: Manifest, folder: Path, data: Path, aside: Path) -> None:
    """Renames only, the database last: killed in between, the same restore can be done again with --force."""
    _swap_media(folder / MEDIA, aside)
    for key in sorted((folder / KEYS).iterdir()) if (folder / KEYS).exists() else ():
        if (data / key.name).exists():
            (data / key.name).rename(aside / key.name)
        key.rename(data / key.name)
    kind().replace(folder / DATABASE, aside, dict(manifest.migrations))


def _swap_media(fresh: Path, aside: Path) -> None:
    """A folder is exchanged as a whole; into a bucket all is written, and what is too much there is swept later."""
    fresh.mkdir(exist_ok=True)
    if settings.S3:
        for file in (one for one in fresh.rglob("*") if one.is_file()):
            storage.write(file.relative_to(fresh).as_posix(), file.read_bytes())
        return
    media = Path(settings.MEDIA_ROOT)
    if media.exists():
        media.rename(aside / MEDIA)
    fresh.rename(media)


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    names = [entry.filename for entry in archive.infolist()]
    if MANIFEST not in names:
        raise ArchiveError("This is no archive of Tessera's: it has no list of its files.")
    if archive.getinfo(MANIFEST).file_size > MANIFEST_LIMIT:
        raise ArchiveError("The archive's list of files is too long to be true.", hint=DAMAGED)
    manifest = read_manifest(archive.read(MANIFEST))
    if sorted(names) != sorted([MANIFEST, *manifest.members]):
        raise ArchiveError("The archive does not hold the files that it lists.", hint=DAMAGED)
    return manifest


def _unpack(archive: zipfile.ZipFile, manifest: Manifest, name: str, folder: Path) -> None:
    """Never more than was said, and only what its sum says. The name was checked before."""
    member, digest, size = manifest.members[name], hashlib.sha256(), 0
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as packed, target.open("xb") as out:
        while size <= member.size and (chunk := packed.read(CHUNK)):
            out.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    target.chmod(0o600)
    if size != member.size or digest.hexdigest() != member.sha256:
        raise ArchiveError(f"{name} in the archive is not what it was when it was written.", hint=DAMAGED)


def _require_room(where: Path, size: int) -> None:
    free = shutil.disk_usage(where).free
    if free < size + SPARE:
        raise ArchiveError(
            f"The archive needs {(size + SPARE) // 1_000_000} MB, {where} has {free // 1_000_000} MB.",
            hint="Make room, then restore.",
        )


@transaction.atomic
def _forget(gone: list[str]) -> None:
    """Rows of what was deleted for good while the archive was written."""
    Image.objects.filter(file__in=gone).delete()
    Upload.objects.filter(file__in=gone).delete()
