"""A day that this installation really had, for the simulator: its finished requests and its checkpoints."""

import uuid
from collections import Counter
from datetime import date, datetime

from django.db.models import QuerySet

from generation.models import Checkpoint, GenerationRequest
from generation.models.request import gives_way
from generation.paces import paces_read
from generation.policy.line import Waiting
from generation.simulation.days import Day, Job, Weights

LIGHT, STEADY = 12, 60  # requests a day up to which somebody is called so
State = GenerationRequest.State


def recorded(day: date, devices: int) -> Day | None:
    """Requests that were asked for on `day` and completed; None if there are none."""
    rows = list(_rows(day))
    if not rows:
        return None
    asked = Counter(row.owner_id for row in rows)
    jobs = tuple(_job(row, asked[row.owner_id]) for row in rows)
    shelf = _shelf(sorted({row.checkpoint_id for row in rows}))
    return Day(jobs, shelf, devices, max(24.0, *(one.gigabytes for one in shelf.values())))


def _rows(day: date) -> QuerySet[GenerationRequest]:
    found = GenerationRequest.objects.filter(created_at__date=day, state=State.COMPLETED, device_seconds__gt=0)
    return found.select_related("checkpoint").order_by("created_at", "id")


def _job(row: GenerationRequest, asked: int) -> Job:
    at = _seconds(row.created_at)
    count = int(row.param("count", 1))
    portions = count if gives_way(row.lane, row.checkpoint.draws_together) else 1
    night = row.lane == GenerationRequest.Lane.OVERNIGHT
    kind = "night" if night else "light" if asked <= LIGHT else "steady" if asked <= STEADY else "heavy"
    one = Waiting(
        str(row.pk),
        str(row.owner_id),
        row.checkpoint.name,
        (row.predicted_seconds or row.device_seconds) / portions,
        at,
        at,
        overnight=night,
        pictures=count // portions,
        portions=portions,
    )
    return Job(one, row.device_seconds, kind)


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _shelf(keys: list[uuid.UUID]) -> dict[str, Weights]:
    checkpoints = list(Checkpoint.objects.filter(pk__in=keys))
    known = paces_read(checkpoints)
    return {
        one.name: Weights(
            one.name, one.size_bytes / 1e9, known[one.pk].loading().p50, one.seconds_per_picture or 0.0, 1.0
        )
        for one in checkpoints
    }
