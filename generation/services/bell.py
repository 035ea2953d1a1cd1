"""The doorbell of the worker: a django-q2 task that says "there is work" and nothing else.

Ringing twice, late or never is harmless: a schedule rings every minute.
"""

import logging
import time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

logger = logging.getLogger(__name__)

DRAIN = "generation.tasks.drain"
PRUNE = "generation.tasks.prune"
SWEEP = "generation.tasks.sweep"
SCHEDULES = (("tessera-drain", DRAIN, 1), ("tessera-prune", PRUNE, 60), ("tessera-sweep", SWEEP, 24 * 60))
PAUSE_SECONDS = 1.0


class PatientBroker(ORM):  # type: ignore[misc]
    """django-q2's broker on our database, which a locked database or a full disk must not end with the cluster.

    A bell that is not taken is taken later; one that is not acknowledged stays locked and is forgotten at the next
    start of the cluster.
    """

    def dequeue(self) -> Any:
        """The next bells; none when the database does not answer."""
        try:
            return super().dequeue()
        except DatabaseError as error:
            logger.warning("No bell could be taken: %s", error)
        time.sleep(PAUSE_SECONDS)
        return None

    def delete(self, task_id: Any) -> None:
        """Forget a bell, now or at the next start."""
        try:
            super().delete(task_id)
        except DatabaseError as error:
            logger.warning("A bell could not be acknowledged: %s", error)


def ring() -> None:
    """Wake the worker once the rows are committed. Never raises: the request is safe in its row."""
    transaction.on_commit(_ring, robust=True)


def bells_clear() -> None:
    """Forget bells that a killed cluster left locked; the starting one rings a fresh one."""
    OrmQ.objects.filter(key=settings.Q_CLUSTER["name"]).delete()


def schedules_ensure() -> None:
    """The bell every minute, the cleaning every hour, the look at every file once a day."""
    for name, func, minutes in SCHEDULES:
        Schedule.objects.update_or_create(
            name=name, defaults={"func": func, "schedule_type": Schedule.MINUTES, "minutes": minutes, "repeats": -1}
        )


def _ring() -> None:
    try:
        if not _is_waiting():
            async_task(DRAIN)
    except Exception:
        logger.warning("The bell could not be rung; the schedule rings within a minute", exc_info=True)


def _is_waiting() -> bool:
    # A bell that nobody has taken yet will be answered later than now, so it covers this change too.
    waiting = OrmQ.objects.filter(key=settings.Q_CLUSTER["name"], lock__lte=timezone.now())
    return any(entry.task.get("func") == DRAIN for entry in waiting[:5])
