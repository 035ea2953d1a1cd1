"""The trash: in, back, and gone for good with its files, but only when the rows are gone for certain."""

import datetime

import pytest
from django.db import transaction
from django.utils import timezone
from PIL import Image as Picture

from accounts.models import User
from core.errors import NotAllowedError
from generation import storage
from generation.models import GenerationRequest, Image, Project
from generation.services import trash
from tests.generation import pictures


def ago(days: float) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(days=days)


def test_in_and_back(alice: User, project: Project) -> None:
    image = pictures.image(project=project)
    first = trash.image_trash(image=image, user=alice).trashed_at
    assert first is not None
    assert trash.image_trash(image=image, user=alice).trashed_at == first
    assert trash.image_restore(image=image, user=alice).trashed_at is None
    assert trash.image_restore(image=image, user=alice).trashed_at is None
    assert storage.picture_path(image).exists()


def test_editors_may_viewers_strangers_and_operators_may_not(
    bob: User, edith: User, charlie: User, olga: User, team: Project
) -> None:
    image = pictures.image(project=team)
    for person in (bob, charlie, olga):
        for deed in (trash.image_trash, trash.image_restore):
            with pytest.raises(NotAllowedError):
                deed(image=image, user=person)
    assert Image.objects.kept().count() == 1
    trash.image_trash(image=image, user=edith)
    assert Image.objects.kept().count() == 0


def test_days_left_count_today(settings: object, project: Project) -> None:
    settings.TRASH_DAYS = 30  # type: ignore[attr-defined]
    image = pictures.image(project=project)
    for days, left in ((0, 30), (0.5, 30), (1.5, 29), (29.5, 1), (31, 0)):
        image.trashed_at = ago(days)
        assert trash.days_left(image) == left


# on_commit runs only where a transaction really commits, so the tests of files need transaction=True: an ordinary test
# runs inside one transaction that is rolled back at the end.
@pytest.mark.django_db(transaction=True)
def test_purge_deletes_old_rows_and_their_files(settings: object, project: Project) -> None:
    settings.TRASH_DAYS = 30  # type: ignore[attr-defined]
    old, young = (pictures.image(project=project, seed=days, trashed_at=ago(days)) for days in (31, 29))
    kept = pictures.image(project=project, seed=3)
    assert trash.trash_purge() == 1
    assert set(Image.objects.all()) == {young, kept}
    assert not storage.picture_path(old).exists()
    assert not storage.thumb_path(old).exists()
    assert all(path(image).exists() for image in (young, kept) for path in (storage.picture_path, storage.thumb_path))
    assert trash.trash_purge() == 0


@pytest.mark.django_db(transaction=True)
def test_files_stay_when_the_deletion_is_rolled_back(project: Project) -> None:
    image = pictures.image(project=project, trashed_at=ago(99))

    class PowerCut(Exception):
        """Anything that goes wrong before the commit."""

    with pytest.raises(PowerCut), transaction.atomic():
        assert trash.trash_purge() == 1
        assert storage.picture_path(image).exists()
        raise PowerCut
    assert Image.objects.filter(pk=image.pk).exists()
    assert storage.picture_path(image).exists()


@pytest.mark.django_db(transaction=True)
def test_purge_goes_on_over_many_batches_and_missing_files(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setattr(trash, "BATCH", 2)
    made = [pictures.image(project=project, seed=seed, width=8, height=8, trashed_at=ago(40)) for seed in range(5)]
    storage.picture_path(made[2]).unlink()
    assert trash.trash_purge() == 5
    assert not Image.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_request_outlives_the_picture_that_it_used(alice: User, project: Project) -> None:
    image = pictures.image(project=project, trashed_at=ago(40))
    request = GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=pictures.checkpoint(), prompt="a cat", source_image=image
    )
    assert trash.trash_purge() == 1
    request.refresh_from_db()
    assert request.source_image is None


@pytest.mark.parametrize("file", ["", "x.png", "images/x.png", "images/ab/x.png", "../x.png", "images/ab/../x.png"])
def test_a_row_with_a_strange_path_takes_nothing_along(project: Project, file: str) -> None:
    image = pictures.image(project=project)
    storage.delete(file)
    assert storage.picture_path(image).exists()


def test_the_thumbnail_of_a_small_picture_is_exact(project: Project) -> None:
    image = pictures.image(project=project, width=32, height=32)
    with Picture.open(storage.picture_path(image)) as picture, Picture.open(storage.thumb_path(image)) as thumb:
        assert picture.convert("RGB").tobytes() == thumb.convert("RGB").tobytes()
