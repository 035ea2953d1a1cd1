"""Files of pictures: where they lie, atomic writes, thumbnails. Changes no row.

A picture lies in media/images/ab/<uuid>/picture.png, its thumbnail beside it. The file is written before its row, so a
crash leaves a file too many (swept later) and never a row without a file.
"""

import hashlib
import io
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from PIL import Image as Picture

from generation.engines.provenance import png_with_recipe
from generation.models import Image

PICTURE = "picture.png"
THUMB = "thumb.webp"
THUMB_EDGE = 384
IMAGES = "images"
UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture on disk that has no row yet."""

    id: uuid.UUID
    file: str
    sha256: str
    size_bytes: int
    width: int
    height: int


def path(relative: str) -> Path:
    """Where a file of the media folder lies."""
    return Path(settings.MEDIA_ROOT) / relative


def picture_path(image: Image) -> Path:
    """The full picture."""
    return path(image.file)


def thumb_path(image: Image) -> Path:
    """Its small WebP."""
    return path(image.file).with_name(THUMB)


def write_picture(png: bytes, recipe: dict[str, Any]) -> StoredPicture:
    """Write a picture with its recipe inside, and its thumbnail. Raises OSError, e.g. when the disk is full."""
    key = uuid.uuid4()
    relative = f"{IMAGES}/{key.hex[:2]}/{key}/{PICTURE}"
    data = picture_bytes(png, recipe)
    try:
        write_atomic(path(relative), data)
        thumb, (width, height) = _thumbnail(png)
        write_atomic(path(relative).with_name(THUMB), thumb)
    except OSError:
        delete(relative)
        raise
    return StoredPicture(key, relative, hashlib.sha256(data).hexdigest(), len(data), width, height)


def picture_bytes(png: bytes, recipe: dict[str, Any]) -> bytes:
    """What is kept of a drawn picture, byte for byte."""
    return png_with_recipe(png, recipe)


def write_atomic(target: Path, data: bytes) -> None:
    """Whole or not at all, also when the machine loses power."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def delete(relative: str) -> None:
    """Remove a picture and its thumbnail. Harmless when they are gone."""
    folder = path(relative).parent
    # A row with another path (empty, say) must not take the whole media folder along.
    if folder.parent.parent == path(IMAGES) and folder.name != "..":
        shutil.rmtree(folder, ignore_errors=True)


def delete_on_commit(relative: str) -> None:
    """Remove a picture once its row is gone for certain."""
    transaction.on_commit(partial(delete, relative), robust=True)


def old_pictures(seconds: float) -> Iterator[str]:
    """Pictures on disk that were made longer than `seconds` ago, as they are named in rows."""
    root, before = Path(settings.MEDIA_ROOT), time.time() - seconds
    for folder in (root / IMAGES).glob("*/*"):
        if folder.stat().st_mtime < before:
            yield (folder / PICTURE).relative_to(root).as_posix()


def old_uploads(seconds: float) -> Iterator[str]:
    """The same for pictures that were handed in; what a crash left half written is one of them."""
    root, before = Path(settings.MEDIA_ROOT), time.time() - seconds
    for file in (root / UPLOADS).glob("*/*"):
        if file.stat().st_mtime < before:
            yield file.relative_to(root).as_posix()


def _thumbnail(png: bytes) -> tuple[bytes, tuple[int, int]]:
    with Picture.open(io.BytesIO(png)) as picture:
        size = picture.size
        small = picture.convert("RGB")
    small.thumbnail((THUMB_EDGE, THUMB_EDGE))
    data = io.BytesIO()
    # A small picture is shown enlarged, so its thumbnail must not add the blots of a lossy one.
    small.save(data, "WEBP", quality=90, lossless=max(size) <= THUMB_EDGE)
    return data.getvalue(), size
