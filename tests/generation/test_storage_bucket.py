"""Pictures in an S3 bucket, against a real server: kept, shown, handed out, deleted, swept, and what is missing."""

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone
from PIL import Image as Picture

from accounts.models import User
from config.backends import s3_bucket, storages
from generation import storage
from generation.engines.provenance import recipe_of
from generation.models import Image, Project
from generation.services.images import orphans_sweep
from generation.services.trash import image_trash, trash_purge
from generation.services.uploads import upload_store
from generation.storage import bucket
from tests import servers
from tests.generation import pictures
from tests.generation.test_media import body
from tests.portal import direct

Login = Callable[[User], Client]


FUTURE = -3600.0  # older than an hour from now: everything


def names() -> list[str]:
    """Everything in the bucket."""
    shelf = storage.shelf()
    return sorted(name for folder in (storage.IMAGES, storage.UPLOADS) for name in shelf.old_files(folder, FUTURE))


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """One for all tests of this file."""
    with servers.bucket() as (_, found):
        yield found


@pytest.fixture(autouse=True)
def in_bucket(server: dict[str, str], settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pictures lie there, and not on disk."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    settings.S3 = s3_bucket()
    settings.STORAGES = storages(settings.S3)
    bucket._bucket_of.cache_clear()
    yield
    settings.S3 = s3_bucket()
    settings.STORAGES = storages(settings.S3)
    bucket._bucket_of.cache_clear()
    for name in names():
        storage.shelf().remove(name)
    bucket._bucket_of.cache_clear()


def test_a_picture_and_its_thumbnail_lie_in_the_bucket_and_not_on_disk(project: Project) -> None:
    image = pictures.image(project=project)
    assert names() == sorted([image.file, storage.thumb_name(image.file)])
    assert not storage.picture_path(image).exists()
    data = storage.read(image.file)
    assert (len(data), storage.size(image.file)) == (image.size_bytes, image.size_bytes)
    with Picture.open(io.BytesIO(storage.read(storage.thumb_name(image.file)))) as thumb:
        assert thumb.format == "WEBP"


def test_a_file_is_fetched_in_ranges_from_any_place() -> None:
    data = bytes(range(256)) * 3000  # more than two blocks
    storage.write("uploads/ab/long.png", data)
    with storage.open_file("uploads/ab/long.png") as file:
        assert file.read(10) == data[:10]
        assert file.seek(700_000) == 700_000
        assert file.read() == data[700_000:]
        assert file.read() == b""
        assert file.seek(0, io.SEEK_END) == len(data)
        assert (file.seek(-5, io.SEEK_CUR), file.read()) == (len(data) - 5, data[-5:])


def test_what_is_not_there_is_told_as_a_folder_would(project: Project) -> None:
    for look in (storage.read, storage.size, storage.open_file):
        with pytest.raises(FileNotFoundError):
            look("images/ab/nothing/picture.png")
    assert not storage.exists("images/ab/nothing/picture.png")
    storage.delete("images/ab/nothing/picture.png")
    storage.delete_upload("uploads/ab/nothing.png")


def test_a_bucket_that_does_not_answer_is_an_error_of_the_system(settings: Any, project: Project) -> None:
    settings.S3 = {**settings.S3, "bucket": "nobodys"}
    settings.STORAGES = storages(settings.S3)
    bucket._bucket_of.cache_clear()
    with pytest.raises(OSError, match="bucket"):
        pictures.image(project=project)


def test_pages_downloads_and_uploads(alice: User, project: Project, login: Login) -> None:
    image, client = pictures.image(project=project), login(alice)
    kept = storage.read(image.file)
    shown = client.get(reverse("image_picture", args=[image.pk]))
    assert (body(shown), shown.headers["Content-Length"]) == (kept, str(len(kept)))
    assert body(client.get(reverse("image_thumb", args=[image.pk])))[8:12] == b"WEBP"
    bare = body(client.get(reverse("image_download", args=[image.pk]) + "?recipe=0"))
    assert recipe_of(kept) == image.recipe
    assert recipe_of(bare) is None
    again = client.get(reverse("image_picture", args=[image.pk]), headers={"if-none-match": shown["ETag"]})
    assert again.status_code == 304
    upload = upload_store(user=alice, file=io.BytesIO(pictures.png()), size=100)
    given = client.get(reverse("upload_picture", args=[upload.pk]))
    with Picture.open(io.BytesIO(body(given))) as picture:
        assert picture.size == (64, 64)
    storage.delete(image.file)
    assert client.get(reverse("image_picture", args=[image.pk])).status_code == 410


def test_a_picture_that_leaves_as_it_is_kept_is_fetched_from_the_bucket(
    alice: User, bob: User, project: Project, login: Login, settings: Any
) -> None:
    settings.DOWNLOADS = "presigned"
    image, client = pictures.image(project=project), login(alice)
    answer = client.get(reverse("image_download", args=[image.pk]) + "?recipe=1")
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "private, max-age=150", "ends before the address does"
    assert "Cookie" in answer.headers["Vary"], "another session asks anew"
    with direct.open(answer.url) as fetched:
        assert fetched.read() == storage.read(image.file)
        assert fetched.headers["Content-Type"] == "image/png"
        assert "attachment" in fetched.headers["Content-Disposition"]
    bare = client.get(reverse("image_download", args=[image.pk]) + "?recipe=0")
    assert bare.status_code == 200, "these bytes lie nowhere"
    assert login(bob).get(reverse("image_download", args=[image.pk])).status_code == 404
    assert "X-Amz-Expires=300" in answer.url


def test_the_trash_and_the_sweep_empty_the_bucket(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = pictures.image(project=project), pictures.image(project=project, seed=8)
    orphan = storage.write_picture(pictures.png(seed=9), {})
    storage.write("uploads/ab/half.png", b"x")
    image_trash(image=gone, user=alice)
    monkeypatch.setattr("generation.services.images.ORPHAN_SECONDS", FUTURE)
    Image.objects.filter(pk=gone.pk).update(trashed_at=timezone.now() - timedelta(days=99))
    with TestCase.captureOnCommitCallbacks(execute=True):
        assert trash_purge() == 1
    assert orphan.file in names()
    assert orphans_sweep() == 2
    assert names() == sorted([kept.file, storage.thumb_name(kept.file)])
