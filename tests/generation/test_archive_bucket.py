"""Backup and restore between a folder and an S3 bucket: the pictures are where the settings say, and the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.backends import s3_bucket, storages
from generation import storage
from generation.archive.reading import archive_restore
from generation.archive.writing import archive_write
from generation.models import Image, Upload
from generation.storage import bucket
from tests import servers
from tests.generation.cluster import database
from tests.generation.test_archive import files, portal  # noqa: F401 a fixture


@contextmanager
def in_bucket(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pictures lie in an empty bucket meanwhile."""
    with servers.bucket() as (_, found), monkeypatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        before = settings.S3, settings.STORAGES
        settings.S3 = s3_bucket()
        settings.STORAGES = storages(settings.S3)
        bucket._bucket_of.cache_clear()
        try:
            yield
        finally:
            settings.S3, settings.STORAGES = before
            bucket._bucket_of.cache_clear()


def test_pictures_go_from_a_folder_into_a_bucket_and_back(
    portal: Path,  # noqa: F811
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, before = tmp_path / "first.zip", tmp_path / "second.zip", files(portal)
    archive_write(first)
    other, third = tmp_path / "other", tmp_path / "third"
    for folder in (other, third):
        folder.mkdir(mode=0o700)
    settings.DATA, settings.MEDIA_ROOT = other, other / "media"
    with database(other), in_bucket(settings, monkeypatch):
        archive_restore(first, force=False)
        names = [Image.objects.get().file, storage.thumb_name(Image.objects.get().file), Upload.objects.get().file]
        assert {name: storage.read(name) for name in names} == before
        assert not (other / "media").exists()
        archive_write(second)
    settings.DATA, settings.MEDIA_ROOT = third, third / "media"
    with database(third):
        archive_restore(second, force=False)
    assert files(third) == before
