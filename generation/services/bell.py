"""The doorbells of the workers: a django-q2 task in a device's own queue that says "there is work" and nothing else.

Ringing twice, late or never is harmless: an idle worker looks by itself every few seconds, and a schedule rings.
"""

import logging
from functools import partial

from django.conf import settings
from django.db import transaction
from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.tasks import async_task

from core.doorbells import DEFAULT_QUEUE, queue_of
from generation.models import Checkpoint, Device

logger = logging.getLogger(__name__)

DRAIN = "generation.tasks.drain"
PRUNE = "generation.tasks.prune"
SWEEP = "generation.tasks.sweep"
SCHEDULES = (("tessera-drain", DRAIN, 1), ("tessera-prune", PRUNE, 60), ("tessera-sweep", SWEEP, 24 * 60))


def ring(*, checkpoint: Checkpoint | None = None, device: Device | None = None) -> None:
    """Wake the workers once the rows are committed: of this device, of all that could draw with `checkpoint`, or all.

    Never raises: the request is safe in its row.
    """
    transaction.on_commit(partial(_ring, checkpoint, device), robust=True)


def bells_clear() -> None:
    """Forget bells that a killed cluster left locked; the starting one rings a fresh one."""
    try:
        get_broker().clear()
    except Exception:  # whichever broker it is: a bell too many is harmless
        logger.warning("Old bells could not be forgotten", exc_info=True)


def schedules_ensure() -> None:
    """For this device: the bell every minute, the cleaning every hour, the look at every file once a day."""
    own = queue_of(settings.DEVICE_NAME)
    suffix, cluster = ("", None) if own == DEFAULT_QUEUE else (f"-{settings.DEVICE_NAME}", own)
    for name, func, minutes in SCHEDULES:
        values = {"func": func, "schedule_type": Schedule.MINUTES, "minutes": minutes, "repeats": -1}
        Schedule.objects.update_or_create(name=name + suffix, defaults={**values, "cluster": cluster})


def _ring(checkpoint: Checkpoint | None, device: Device | None) -> None:
    try:
        for queue in _queues(checkpoint, device):
            # A bell that nobody has taken yet will be answered later than now, so it covers this change too.
            if DRAIN not in get_broker(queue).waiting():
                async_task(DRAIN, cluster=queue)
    except Exception:
        logger.warning("The bell could not be rung; the worker looks by itself within seconds", exc_info=True)


def _queues(checkpoint: Checkpoint | None, device: Device | None) -> list[str]:
    if device is not None:
        return [queue_of(device.name)]
    alive = list(Device.objects.alive())
    if checkpoint is not None:
        alive = [one for one in alive if one.takes_work() and one.holds(checkpoint.name, checkpoint.sha256)]
    # Nobody to be seen: the one of this installation may be about to start.
    return [queue_of(one.name) for one in alive] or [queue_of(settings.DEVICE_NAME)]
