"""The trash: pictures go in and come back, and are deleted for good after TRASH_DAYS."""

import datetime
import logging
from collections.abc import Callable

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from core.errors import NotAllowedError
from generation import permissions, storage
from generation.models import Image

logger = logging.getLogger(__name__)
BATCH = 200


def image_trash(*, image: Image, user: User) -> Image:
    """Move a picture to the trash. Doing it again keeps the first date."""
    _require_editor(user, image)
    Image.objects.filter(pk=image.pk, trashed_at__isnull=True).update(trashed_at=timezone.now())
    image.refresh_from_db(fields=["trashed_at"])
    return image


def image_restore(*, image: Image, user: User) -> Image:
    """Bring a picture back to its gallery."""
    _require_editor(user, image)
    Image.objects.filter(pk=image.pk).update(trashed_at=None)
    image.refresh_from_db(fields=["trashed_at"])
    return image


def trash_purge(*, days: int | None = None, touch: Callable[[], None] = lambda: None) -> int:
    """Delete what has been in the trash for longer than `days` (TRASH_DAYS). Returns how many pictures.

    `touch` is called after every batch, as a sign of progress.
    """
    since = timezone.now() - datetime.timedelta(days=settings.TRASH_DAYS if days is None else days)
    purged = 0
    while batch := _purge_batch(since):
        purged += batch
        touch()
    if purged:
        logger.info("Deleted %d pictures that were in the trash since before %s", purged, since.date())
    return purged


def days_left(image: Image) -> int:
    """Whole days until a picture in the trash is deleted for good, today counted as one."""
    if image.trashed_at is None:
        return settings.TRASH_DAYS
    end = image.trashed_at + datetime.timedelta(days=settings.TRASH_DAYS)
    return max(0, -((timezone.now() - end) // datetime.timedelta(days=1)))


@transaction.atomic
def _purge_batch(since: datetime.datetime) -> int:
    """Rows first, files when the rows are gone for certain: a file too many is waste, a row without file is a lie."""
    # The lock (SQLite: the immediate transaction) keeps a restore from slipping in between reading and deleting.
    images = list(
        Image.objects.select_for_update().trashed().filter(trashed_at__lt=since).order_by("trashed_at")[:BATCH]
    )
    Image.objects.filter(pk__in=[image.pk for image in images]).delete()
    for image in images:
        storage.delete_on_commit(image.file)
    return len(images)


def _require_editor(user: User, image: Image) -> None:
    if not permissions.can_edit_image(user, image):
        raise NotAllowedError(
            "You may look at this picture but not delete or restore it.", hint="Ask a manager to make you an editor."
        )
