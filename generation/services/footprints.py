"""What a checkpoint needs of memory, kept with it: foretold from its files, then learnt from finished requests."""

import logging
from typing import get_args

from django.db import transaction

from core.errors import TesseraError
from generation.engines.footprint import Footprint, learnt_key
from generation.engines.plan import MemoryRung, Plan
from generation.engines.protocol import Figures
from generation.models import Checkpoint
from generation.services.checkpoints import checkpoint_examine

logger = logging.getLogger(__name__)

MOST_LEARNT = 64  # sizes and ways of drawing that are kept for one checkpoint, the newest
RUNGS: dict[str, MemoryRung] = {rung: rung for rung in get_args(MemoryRung)}


def footprint_known(*, checkpoint: Checkpoint) -> Footprint | None:
    """As it is kept; foretold, and kept, when it never was. None when the files cannot be read: loading tells why."""
    try:
        if checkpoint.footprint:
            return Footprint.from_dict(checkpoint.footprint)
    except TypeError:
        logger.warning("What was kept of the memory of %s cannot be read, it is foretold anew", checkpoint.name)
    try:
        found = checkpoint_examine(path=checkpoint.path, name=checkpoint.name).footprint()
    except (TesseraError, OSError) as error:
        logger.warning("The memory that %s needs is not known: %s", checkpoint.name, error)
        return None
    _keep(checkpoint, found)
    return found


@transaction.atomic
def footprint_learn(*, checkpoint: Checkpoint, figures: Figures, width: int, height: int) -> None:
    """A request was drawn, and its need was measured: the next one of its kind is judged by that."""
    rung = RUNGS.get(figures.memory)
    if figures.need_bytes <= 0 or rung is None:
        return
    fresh = Checkpoint.objects.get(pk=checkpoint.pk)
    known = footprint_known(checkpoint=fresh)
    if known is None:
        return
    key = learnt_key(Plan(figures.precision, rung), width, height, device=figures.device)
    learnt = known.learn(key, figures.need_bytes).learnt
    newest = {**{name: need for name, need in learnt.items() if name != key}, key: learnt[key]}
    _keep(fresh, known.with_learnt(dict(list(newest.items())[-MOST_LEARNT:])))


def footprint_forget(*, checkpoint: Checkpoint) -> None:
    """What was learnt is dropped: one bad measurement must not refuse a checkpoint for ever."""
    known = footprint_known(checkpoint=checkpoint)
    if known is not None:
        _keep(checkpoint, known.with_learnt({}))


def _keep(checkpoint: Checkpoint, footprint: Footprint) -> None:
    checkpoint.footprint = footprint.to_dict()
    Checkpoint.objects.filter(pk=checkpoint.pk).update(footprint=checkpoint.footprint)
