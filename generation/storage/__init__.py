"""Files of pictures: names, atomic writes, thumbnails. The one place that knows where they lie. Changes no row.

A picture is images/ab/<uuid>/picture.png, its thumbnail beside it; what was handed in is uploads/ab/<uuid>.png. They
lie in the media folder, or in an S3 bucket where one is set. The file is written before its row, so a crash leaves a
file too many (swept later) and never a row without a file.

Whatever the place, a file that is not there raises FileNotFoundError, and a place that does not answer OSError.
"""

import hashlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from PIL import Image as Picture

from generation.engines.provenance import png_with_recipe
from generation.models import Image
from generation.storage.disk import Disk, write_atomic
from generation.storage.shelf import Shelf

__all__ = ["Shelf", "StoredPicture", "write_atomic"]

PICTURE = "picture.png"
THUMB = "thumb.webp"
THUMB_EDGE = 384
IMAGES = "images"
UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A kept picture that has no row yet."""

    id: uuid.UUID
    file: str
    sha256: str
    size_bytes: int
    width: int
    height: int


def shelf() -> Shelf:
    """Where files lie here, by the settings."""
    if not settings.S3:
        return Disk(Path(settings.MEDIA_ROOT))
    from generation.storage.bucket import the_bucket  # its libraries are installed only where there is one

    return the_bucket()


def path(relative: str) -> Path:
    """Where a file of the media folder lies, on one machine: for those who handle the folder itself."""
    return Path(settings.MEDIA_ROOT) / relative


def picture_path(image: Image) -> Path:
    """The full picture in the media folder."""
    return path(image.file)


def thumb_path(image: Image) -> Path:
    """Its small WebP in the media folder."""
    return path(thumb_name(image.file))


def thumb_name(file: str) -> str:
    """The small WebP beside a picture."""
    return f"{file.rpartition('/')[0]}/{THUMB}"


def write_picture(png: bytes, recipe: dict[str, Any]) -> StoredPicture:
    """Write a picture with its recipe inside, and its thumbnail. Raises OSError, e.g. when the disk is full."""
    key = uuid.uuid4()
    name = f"{IMAGES}/{key.hex[:2]}/{key}/{PICTURE}"
    data = picture_bytes(png, recipe)
    try:
        shelf().write(name, data)
        thumb, (width, height) = _thumbnail(png)
        shelf().write(thumb_name(name), thumb)
    except OSError:
        delete(name)
        raise
    return StoredPicture(key, name, hashlib.sha256(data).hexdigest(), len(data), width, height)


def picture_bytes(png: bytes, recipe: dict[str, Any]) -> bytes:
    """What is kept of a drawn picture, byte for byte."""
    return png_with_recipe(png, recipe)


def write(name: str, data: bytes) -> None:
    """Whole or not at all. Raises OSError."""
    shelf().write(name, data)


def read(name: str) -> bytes:
    """All of a file. Raises OSError."""
    with shelf().open(name) as file:
        return file.read()


def open_file(name: str) -> BinaryIO:
    """A file to read from, bit by bit and from any place. Raises OSError, also while it is read."""
    return shelf().open(name)


def size(name: str) -> int:
    """In bytes. Raises OSError."""
    return shelf().size(name)


def exists(name: str) -> bool:
    """Whether there is such a file. Raises OSError when that cannot be told."""
    try:
        return shelf().size(name) >= 0
    except FileNotFoundError:
        return False


def address(name: str, *, content_type: str, disposition: str = "") -> str:
    """Where a browser may fetch it by itself, for DOWNLOAD_SECONDS. Raises OSError where that cannot be."""
    return shelf().address(name, content_type=content_type, disposition=disposition)


def delete(name: str) -> None:
    """Remove a picture and its thumbnail. Harmless when they are gone."""
    parts = name.split("/")
    # A row with another name (empty, say) must not take anything else along.
    if len(parts) == 4 and parts[0] == IMAGES and not {"", ".", ".."} & set(parts):
        shelf().remove_beside(name, thumb_name(name))


def delete_upload(name: str) -> None:
    """Remove what was handed in. Harmless when it is gone."""
    shelf().remove(name)


def delete_on_commit(name: str) -> None:
    """Remove a picture once its row is gone for certain."""
    transaction.on_commit(partial(delete, name), robust=True)


def old_pictures(seconds: float) -> Iterator[str]:
    """Pictures that were made longer than `seconds` ago, as they are named in rows."""
    return shelf().old_pictures(IMAGES, PICTURE, seconds)


def old_uploads(seconds: float) -> Iterator[str]:
    """The same for pictures that were handed in; what a crash left half written is one of them."""
    return shelf().old_files(UPLOADS, seconds)


def _thumbnail(png: bytes) -> tuple[bytes, tuple[int, int]]:
    with Picture.open(io.BytesIO(png)) as picture:
        size = picture.size
        small = picture.convert("RGB")
    small.thumbnail((THUMB_EDGE, THUMB_EDGE))
    data = io.BytesIO()
    # A small picture is shown enlarged, so its thumbnail must not add the blots of a lossy one.
    small.save(data, "WEBP", quality=90, lossless=max(size) <= THUMB_EDGE)
    return data.getvalue(), size
