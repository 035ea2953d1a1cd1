"""Putting what was unpacked in the place of what is there, which is laid aside. Nobody else may use it meanwhile."""

import errno
import shutil
import time
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from generation import storage
from generation.archive.database import kind
from generation.archive.manifest import DATABASE, KEYS, MEDIA, ArchiveError, Manifest
from generation.models import Device

LOOK_SECONDS = 0.5
SPARE = 64 * 1024 * 1024  # bytes that stay free of the disk
ARRIVED = ".arrived-"
# What a folder answers that is a mount point, and one that lies on another disk.
NOT_RENAMED = frozenset({errno.EBUSY, errno.EXDEV})


def require_silence() -> None:
    """No device is served, here or on another machine; one that was stopped just now is waited for.

    Raises ArchiveError for those whose heart goes on beating.
    """
    first = _beats()
    while beats := _beats():
        if living := sorted(name for name, beat in beats.items() if beat != first.get(name)):
            raise ArchiveError(
                f"Still served: {', '.join(living)}.",
                hint="Stop all clusters and web processes of this installation, on every machine, then restore.",
            )
        time.sleep(LOOK_SECONDS)


def _beats() -> dict[str, object]:
    """Whose heart is fresh, and when it beat last. Empty where the tables are none, or others than ours."""
    try:
        alive = list(Device.objects.alive().values_list("name", "host", "heartbeat_at"))
    except DatabaseError:
        return {}
    return {f"{name} on {host or 'this machine'}": beat for name, host, beat in alive}


def require_room(where: Path, size: int) -> None:
    """For so many bytes. Raises ArchiveError."""
    free = shutil.disk_usage(where).free
    if free < size + SPARE:
        raise ArchiveError(
            f"The archive needs {(size + SPARE) // 1_000_000} MB, {where} has {free // 1_000_000} MB.",
            hint="Make room, then restore.",
        )


def swap(manifest: Manifest, folder: Path, data: Path, aside: Path) -> list[Path]:
    """The database last: killed in between, the same restore can be done again with --force.

    Where the former things lie now, beside `aside`.
    """
    laid_aside = _swap_media(folder / MEDIA, aside)
    for key in sorted((folder / KEYS).iterdir()) if (folder / KEYS).exists() else ():
        if (data / key.name).exists():
            (data / key.name).rename(aside / key.name)
        key.rename(data / key.name)
    kind().replace(folder / DATABASE, aside, dict(manifest.migrations))
    return laid_aside


def _swap_media(fresh: Path, aside: Path) -> list[Path]:
    """A folder is exchanged as a whole; into a bucket all is written, and what is too much there is swept later."""
    fresh.mkdir(exist_ok=True)
    if settings.S3:
        for file in (one for one in fresh.rglob("*") if one.is_file()):
            storage.write(file.relative_to(fresh).as_posix(), file.read_bytes())
        return []
    media = Path(settings.MEDIA_ROOT)
    try:
        if media.exists():
            media.rename(aside / MEDIA)
    except OSError as error:
        if error.errno not in NOT_RENAMED:
            raise
        return _swap_within(fresh, media, aside.name)
    fresh.rename(media)
    return []


def _swap_within(fresh: Path, media: Path, name: str) -> list[Path]:
    """Of a mount point the content is exchanged: all is copied to its disk first, then renamed there."""
    for left in media.glob(f"{ARRIVED}*"):
        shutil.rmtree(left)  # of a restore that was killed
    require_room(media, sum(file.stat().st_size for file in fresh.rglob("*") if file.is_file()))
    arrived, former = media / f"{ARRIVED}{name}", media / name
    try:
        shutil.copytree(fresh, arrived)
    except BaseException:
        shutil.rmtree(arrived, ignore_errors=True)
        raise
    there = [one for one in media.iterdir() if one != arrived and not one.name.startswith("before-restore-")]
    if there:
        former.mkdir(mode=0o700)
    for child in there:
        child.rename(former / child.name)
    for child in list(arrived.iterdir()):
        child.rename(media / child.name)
    arrived.rmdir()
    return [former] if there else []
