"""Doorbells in our database, for one machine without Redis."""

import logging
import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.models import OrmQ

from generation.brokers.nudge import Ear, nudge

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.2  # between two looks when nobody nudges
LOOK_AT = 5


class DatabaseBells(ORM):  # type: ignore[misc]
    """django-q2's broker on our database, which a locked database or a full disk must not end with the cluster.

    A bell that is not taken is taken later; one that is not acknowledged stays locked and is forgotten at the next
    start of the cluster.
    """

    _ear: Ear | None = None

    def enqueue(self, task: Any) -> Any:
        """Ring, and let who waits look at once."""
        number = super().enqueue(task)
        nudge(settings.DATA, self.list_key)
        return number

    def dequeue(self) -> Any:
        """The next bells; none when there are none for a while, or the database does not answer."""
        try:
            bells = super().dequeue()
        except DatabaseError as error:
            logger.warning("No bell could be taken: %s", error)
            time.sleep(PAUSE_SECONDS)
            return None
        if not bells:
            self._wait()
        return bells

    def _wait(self) -> None:
        """For a nudge, or for the next look."""
        try:
            self._ear = self._ear or Ear(settings.DATA, self.list_key)
            self._ear.wait(LOOK_SECONDS)
        except OSError as error:
            logger.warning("Nudges cannot be heard: %s", error)
            time.sleep(LOOK_SECONDS)

    def delete(self, task_id: Any) -> None:
        """Forget a bell, now or at the next start."""
        try:
            super().delete(task_id)
        except DatabaseError as error:
            logger.warning("A bell could not be acknowledged: %s", error)

    def waiting(self) -> list[str]:
        """What the first bells that nobody has taken yet call for."""
        bells = OrmQ.objects.filter(key=self.list_key, lock__lte=timezone.now())
        return [str(bell.task.get("func")) for bell in bells[:LOOK_AT]]

    def clear(self) -> None:
        """Forget all bells of this queue, also those that were taken."""
        OrmQ.objects.filter(key=self.list_key).delete()
