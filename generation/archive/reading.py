"""Reading an archive back. All is unpacked beside the data and checked before anything of the portal is touched."""

import contextlib
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

from core.folder_lock import alone
from generation.archive.database import check_migrations, check_named, kind
from generation.archive.manifest import (
    DAMAGED,
    DATABASE,
    MANIFEST,
    MANIFEST_LIMIT,
    ArchiveError,
    Manifest,
    read_manifest,
)
from generation.archive.swapping import require_room, require_silence, swap
from generation.models import Image, Upload

CHUNK = 1024 * 1024
KEY = "secret-key"
WIND_UP_SECONDS = 5.0  # the last processes of a portal that was stopped just now


@contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[tuple[Manifest, Path]]:
    """What the archive holds, checked, in a folder inside `beside` that goes afterwards. Raises ArchiveError."""
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = _manifest(archive)
            check_migrations(manifest)
            require_room(beside, manifest.size())
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


def archive_restore(source: Path, *, force: bool) -> tuple[Manifest, list[Path]]:
    """Put the portal back as the archive has it; where the former data lie now. Raises ArchiveError, FolderInUseError.

    Nobody else may use the data meanwhile. `force`: also where there are people or pictures already.
    """
    data = Path(settings.DATA)
    with alone(data, seconds=WIND_UP_SECONDS):
        in_use = kind().is_in_use()
        if in_use and not force:
            raise ArchiveError(
                f"There is a portal in {data} already; it was left as it is.",
                hint="With --force it is put aside and replaced.",
            )
        if in_use:
            require_silence()
        with unpacked(source, data) as (manifest, folder):
            aside = data / f"before-restore-{timezone.now():%Y%m%d-%H%M%S}"
            laid_aside = _replace(manifest, folder, data, aside)
        call_command("migrate", verbosity=0)
        _forget(manifest.gone)
    if not in_use and not laid_aside and {one.name for one in aside.iterdir()} <= {KEY}:
        shutil.rmtree(aside)  # a key that this very command had made, since there was none
        return manifest, []
    return manifest, [aside, *laid_aside]


def _replace(manifest: Manifest, folder: Path, data: Path, aside: Path) -> list[Path]:
    """Look once more, then swap. What could not begin leaves nothing behind."""
    if kind().is_in_use():
        require_silence()  # unpacking may have taken long
    aside.mkdir(mode=0o700)
    try:
        return swap(manifest, folder, data, aside)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.rmdir()  # nothing was laid there
        raise


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


@transaction.atomic
def _forget(gone: list[str]) -> None:
    """Rows of what was deleted for good while the archive was written."""
    Image.objects.filter(file__in=gone).delete()
    Upload.objects.filter(file__in=gone).delete()
