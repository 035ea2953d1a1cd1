"""Files of pictures: whole or not at all, the recipe inside, thumbnails, and nothing left behind."""

import io
import os
import time
from pathlib import Path

import pytest
from django.db import transaction
from PIL import Image as Picture

from generation import storage
from generation.engines.provenance import recipe_of


def png(width: int, height: int) -> bytes:
    """A grey picture."""
    data = io.BytesIO()
    Picture.new("RGB", (width, height), (90, 90, 90)).save(data, "PNG")
    return data.getvalue()


def thumb_size(stored: storage.StoredPicture) -> tuple[int, int]:
    """Of the thumbnail beside the picture."""
    with Picture.open(storage.path(stored.file).with_name(storage.THUMB)) as thumb:
        return thumb.size


def test_a_picture_carries_its_recipe() -> None:
    stored = storage.write_picture(png(40, 20), {"prompt": "ein Kätzchen 🐈", "seed": 7})
    data = storage.path(stored.file).read_bytes()
    assert recipe_of(data) == {"prompt": "ein Kätzchen 🐈", "seed": 7}
    assert (stored.width, stored.height, stored.size_bytes) == (40, 20, len(data))
    assert stored.file.startswith(f"images/{stored.id.hex[:2]}/{stored.id}/")


def test_thumbnails_shrink_large_pictures_and_keep_small_ones() -> None:
    assert thumb_size(storage.write_picture(png(128, 64), {})) == (128, 64)
    assert thumb_size(storage.write_picture(png(1000, 500), {})) == (384, 192)


def test_a_failed_write_leaves_nothing(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def second_fails(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(OSError, match="No space"):
        storage.write_picture(png(8, 8), {})
    assert [path for path in (stage / "media").rglob("*") if path.is_file()] == []


@pytest.mark.django_db(transaction=True)
def test_files_are_deleted_only_when_the_row_is_gone_for_certain() -> None:
    stored = storage.write_picture(png(8, 8), {})
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        storage.delete_on_commit(stored.file)
        raise ZeroDivisionError
    assert storage.path(stored.file).exists()
    storage.delete_on_commit(stored.file)
    assert not storage.path(stored.file).parent.exists()


def test_old_pictures_are_named_as_in_rows() -> None:
    old, _ = storage.write_picture(png(8, 8), {}), storage.write_picture(png(8, 8), {})
    os.utime(storage.path(old.file).parent, (0, time.time() - 3600))
    assert list(storage.old_pictures(1800)) == [old.file]
