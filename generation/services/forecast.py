"""What a request will cost, learnt from those that this installation finished."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from generation.models import Checkpoint, GenerationRequest, Pace
from generation.paces import paces_read, shape_of
from generation.waits import Wait, wait_now, waits_read

MOST_DRAWS = 64
MOST_LOADS = 16


def predicted_seconds(checkpoint: Checkpoint, params: Mapping[str, Any], *, capability: str = "text_to_image") -> float:
    """Device-seconds that drawing this will take, loading left out: the median of what is like it.

    `params` as those of a request: width, height, steps, count. Without any history: from the checkpoint's average,
    else ten seconds a picture.
    """
    known = paces_read([checkpoint])[checkpoint.pk]
    return round(known.drawing(shape_of(checkpoint, params, capability)).p50, 3)


def promise_record(*, request: GenerationRequest) -> dict[uuid.UUID, Wait]:
    """Keep what the owner of a request is told first: when it is done, in half and in nine of ten cases.

    The wait by its id; nothing when it waits no longer. What was claimed at once has a promise too, or those that
    operators look back upon would be the slow ones only.
    """
    own = GenerationRequest.objects.filter(pk=request.pk)
    waits = waits_read(own.filter(state=GenerationRequest.State.QUEUED))
    wait = waits.get(request.pk) or _wait_of_drawn(own)
    if wait is None or not wait.place:
        return waits
    half, most = (request.created_at + timedelta(seconds=seconds) for seconds in (wait.p50, wait.p90))
    GenerationRequest.objects.filter(pk=request.pk).update(promised_p50_at=half, promised_p90_at=most)
    request.promised_p50_at, request.promised_p90_at = half, most
    return waits


def _wait_of_drawn(own: QuerySet[GenerationRequest]) -> Wait | None:
    row = own.filter(state__in=GenerationRequest.LEASED).select_related("checkpoint", "device").first()
    return None if row is None else wait_now(row)


@transaction.atomic
def pace_learn(*, request: GenerationRequest, drawn: float, loaded: float, pictures: int = 1) -> None:
    """So many pictures were drawn: `drawn` device-seconds of it, `loaded` seconds of loading, 0 if it was loaded."""
    if request.device_id is None:
        return
    pace, _ = Pace.objects.select_for_update().get_or_create(
        checkpoint_id=request.checkpoint_id, device_id=request.device_id
    )
    shape = shape_of(request.checkpoint, request.params, request.capability)
    if drawn > 0:
        sample = [shape.width, shape.height, shape.steps, pictures, shape.capability, round(drawn, 3)]
        pace.draws = [*pace.draws, sample][-MOST_DRAWS:]
    if loaded > 0:
        pace.loads = [*pace.loads, round(loaded, 3)][-MOST_LOADS:]
    pace.save(update_fields=["draws", "loads"])
