"""The live store: what has been drawn of requests that still run, for those who come late. No rows.

It holds every fragment and only the newest preview of each picture, packed as they travel: in files on one machine, in
Redis where several share the work. One writer per request (the runner), any number of readers. A full disk or a Redis
that is away costs the replay, never a render.
"""

import uuid
from collections.abc import Collection
from types import ModuleType

from django.conf import settings

from generation.events import Frame
from generation.live import files
from generation.live.have import Have


def keep(request_id: uuid.UUID, frame: Frame) -> None:
    """Store `frame`; a new run clears the old one. Never raises for the store's sake."""
    _store().keep(request_id, frame)


def missing(request_id: uuid.UUID, *, run: int, have: Have, limit: int | None) -> list[bytes]:
    """What somebody who has `have` of `run` lacks, at most `limit` frames. Another run: everything."""
    found: list[bytes] = _store().missing(request_id, run=run, have=have, limit=limit)
    return found


def drop(request_id: uuid.UUID) -> None:
    """Forget a request that is final."""
    _store().drop(request_id)


def sweep(keep_ids: Collection[uuid.UUID]) -> None:
    """Forget all requests but these, e.g. what a killed worker left behind."""
    _store().sweep(keep_ids)


def _store() -> ModuleType:
    if not settings.REDIS:
        return files
    from generation.live import shared  # its library is installed only where there is a Redis

    return shared
