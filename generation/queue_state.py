"""The queue as the policy sees it, read from rows: who waits, whose turn it is, what the devices do.

A fixed number of queries, however many wait.
"""

import uuid
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from generation.fitting import Unfit
from generation.models import Device, GenerationRequest, Turn
from generation.models.request import gives_way
from generation.paces import Known, loads_read
from generation.policy.choice import DeviceNow, Rules
from generation.policy.line import Line, Waiting
from generation.policy.turns import Turns
from generation.presence import Usable

UNKNOWN_SECONDS = 10.0
LEAST_LEFT = 1.0  # seconds that a drawing still takes when it took longer than foretold


@dataclass(slots=True)
class Queue:
    """Line and turns are for the policy to consume."""

    line: Line
    turns: Turns


def queue_read() -> Queue:
    """All who can be served: owners who are active, checkpoints that are enabled. Two queries."""
    rows = (
        GenerationRequest.objects.queued()
        .filter(owner__is_active=True, checkpoint__enabled=True)
        .order_by()
        .values_list(
            "id",
            "owner_id",
            "checkpoint__name",
            "predicted_seconds",
            "created_at",
            "sort_at",
            "lane",
            "promoted_at",
            "params__count",
            "kept",
            "checkpoint__draws_together",
            "attempt",
            "capability",
            "owner__turn__account",
        )
    )
    line, accounts = Line(), dict[Hashable, float]()
    for *values, account in rows:
        one = _waiting(*values)
        line.add(one)
        accounts[one.owner] = account or 0.0
    level = Turn.objects.aggregate(level=Max("level"))["level"] or 0.0
    return Queue(line, Turns(accounts, level))


def _waiting(
    pk: uuid.UUID,
    owner: uuid.UUID,
    checkpoint: str,
    seconds: float,
    created_at: datetime,
    sort_at: datetime,
    lane: str,
    promoted_at: datetime | None,
    count: int | None,
    kept: int,
    draws_together: bool,
    attempt: int,
    capability: str,
) -> Waiting:
    asked = count or 1
    left, of_one = max(asked - kept, 1), (seconds or UNKNOWN_SECONDS * asked) / asked
    portions = left if gives_way(lane, draws_together) else 1
    pictures = left // portions
    return Waiting(
        pk,
        owner,
        checkpoint,
        of_one * pictures,
        created_at.timestamp(),
        sort_at.timestamp(),
        overnight=lane == GenerationRequest.Lane.OVERNIGHT,
        promoted_at=promoted_at.timestamp() if promoted_at else None,
        pictures=pictures,
        portions=portions,
        alone=bool(attempt) or capability == "describe",
    )


@dataclass(slots=True)
class Loads:
    """Seconds of loading, by device and checkpoint's name; read when first asked. One query."""

    _known: dict[str, Known] | None = None

    def __call__(self, device: Hashable, checkpoint: str) -> float:
        if self._known is None:
            self._known = loads_read()
        found = self._known.get(checkpoint)
        return found.loading(device if isinstance(device, uuid.UUID) else None).p50 if found else 0.0


def devices_now(
    devices: Iterable[Device], now: datetime, usable: Usable, unfit: Unfit | None = None
) -> list[DeviceNow]:
    """Those of these that can be expected to serve somebody. At most one query."""
    rows = [device for device in devices if device.takes_work()]
    left = _left(now) if rows else {}
    return [
        DeviceNow(
            device.pk,
            resident_of(device),
            usable.get(device.pk),
            free_in=left.get(device.pk, 0.0),
            drawn=0.0,
            credit=Rules().credit_first,
            unfit=(unfit or {}).get(device.pk, frozenset()),
        )
        for device in rows
    ]


def resident_of(device: Device) -> frozenset[str]:
    """Names of the checkpoints that it told to have loaded."""
    return frozenset(entry["name"] for entry in device.resident)


def _left(now: datetime) -> dict[uuid.UUID, float]:
    """Seconds of drawing that are left on each device, of what is drawn there now."""
    rows = GenerationRequest.objects.filter(state__in=GenerationRequest.LEASED, device__isnull=False)
    left: dict[uuid.UUID, float] = {}
    for row in rows.select_related("checkpoint").defer("checkpoint__footprint"):
        gone = (now - row.started_at).total_seconds() if row.started_at else 0.0
        seconds = row.predicted_seconds * row.portion / row.param("count", 1)
        if row.device_id is not None:
            left[row.device_id] = left.get(row.device_id, 0.0) + max(seconds - gone, LEAST_LEFT)
    return left
