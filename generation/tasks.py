"""The django-q2 entries. A task is only a doorbell: it carries no request and is harmless when rung twice."""

import logging
import time

from generation import live
from generation.models import GenerationRequest
from generation.runner.worker import PULSE, the_worker
from generation.services.bell import ring
from generation.services.images import orphans_sweep, uploads_prune
from generation.services.trash import trash_purge

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 60


def drain() -> int:
    """Draw what waits, one after the other; return after about a minute and ring again. Returns how many were drawn."""
    worker, drawn = the_worker(), 0
    end = time.monotonic() + DRAIN_SECONDS
    try:
        while not worker.leaving:
            if not worker.serve_one():
                worker.warm_up()
                break
            drawn += 1
            if time.monotonic() > end:
                ring(device=worker.device)
                break
    finally:
        worker.settle()
    return drawn


def prune() -> dict[str, int]:
    """Delete what nobody needs any more."""
    PULSE.touch()
    done = {"trash": trash_purge(touch=PULSE.touch), "uploads": uploads_prune(touch=PULSE.touch)}
    PULSE.touch()
    live.sweep(set(GenerationRequest.objects.open().values_list("pk", flat=True)))
    logger.info("Pruned %s", done)
    return done


def sweep() -> int:
    """Delete files of pictures that never got a row. Looks at every picture, so once a day is enough."""
    PULSE.touch()
    return orphans_sweep(touch=PULSE.touch)
