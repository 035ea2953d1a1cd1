"""The live store in files, for one machine.

LIVE_ROOT/<request>/<run>/ holds the frames of one run.
"""

import logging
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from generation.engines.fragments import Kind
from generation.events import FRAME_LIMIT, Frame
from generation.live import have as limits
from generation.live.have import Have, lacking

logger = logging.getLogger(__name__)

SUFFIX = ".frame"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored frame, without its bytes."""

    path: Path
    kind: Kind
    index: int
    sequence: int


def keep(request_id: uuid.UUID, frame: Frame) -> None:
    """Store `frame`; a new run clears the old one. Never raises for the disk's sake."""
    try:
        folder = _run_folder(request_id, frame.run)
        if folder is not None:
            _write(folder, frame)
    except OSError as error:
        logger.warning("A frame of %s was not kept: %s", request_id, error)


def missing(request_id: uuid.UUID, *, run: int, have: Have, limit: int | None) -> list[bytes]:
    """What somebody who has `have` of `run` lacks, at most `limit` frames. Another run: everything."""
    newest = _newest(request_id)
    if newest is None:
        return []
    known = have if int(newest.name) == run else {}
    stored = {(entry.kind, entry.index, entry.sequence): entry for entry in _entries(newest)}
    packed = (_read(entry) for entry in lacking(stored, known, limit))
    return [data for data in packed if data is not None]


def drop(request_id: uuid.UUID) -> None:
    """Forget a request that is final."""
    shutil.rmtree(_folder(request_id), ignore_errors=True)


def sweep(keep_ids: Collection[uuid.UUID]) -> None:
    """Forget all requests but these, e.g. what a killed worker left behind."""
    names = {request_id.hex for request_id in keep_ids}
    root = Path(settings.LIVE_ROOT)
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(request_id: uuid.UUID) -> Path:
    return Path(settings.LIVE_ROOT) / request_id.hex


def _runs(request_id: uuid.UUID) -> list[Path]:
    folder = _folder(request_id)
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def _newest(request_id: uuid.UUID) -> Path | None:
    try:
        runs = _runs(request_id)
    except OSError:
        # Dropped between two looks.
        return None
    return runs[-1] if runs else None


def _run_folder(request_id: uuid.UUID, run: int) -> Path | None:
    folder = _folder(request_id) / str(run)
    if folder.is_dir():
        return folder
    others = _runs(request_id)
    if others and int(others[-1].name) > run:
        # A worker that lost its lease speaks late.
        return None
    folder.mkdir(parents=True, mode=0o700)
    for old in others:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _entries(folder: Path) -> list[Entry]:
    try:
        paths = [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except OSError:
        return []
    return [_entry(path) for path in paths]


def _entry(path: Path) -> Entry:
    kind, index, sequence = path.stem.split("-")
    return Entry(path, Kind(kind), int(index), int(sequence))


def _write(folder: Path, frame: Frame) -> None:
    packed = frame.pack()
    stored = sum(path.stat().st_size for path in folder.iterdir())
    if len(packed) > FRAME_LIMIT or stored + len(packed) > limits.BYTES_LIMIT:
        logger.warning("A frame of %s was not kept: too large", frame.request)
        return
    target = folder / f"{frame.kind}-{frame.index}-{frame.sequence}{SUFFIX}"
    part = target.with_suffix(".part")
    part.write_bytes(packed)
    part.replace(target)
    if frame.kind is Kind.PREVIEW:
        for entry in _entries(folder):
            if entry.kind is Kind.PREVIEW and entry.index == frame.index and entry.sequence < frame.sequence:
                entry.path.unlink(missing_ok=True)


def _read(entry: Entry) -> bytes | None:
    try:
        return entry.path.read_bytes()
    except OSError:
        # Replaced by a newer preview, or dropped.
        return None
