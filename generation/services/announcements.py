"""Tells owners what changed, once it is committed. A lost event harms nobody: the database is the truth."""

import time
import uuid
from collections.abc import Mapping
from functools import partial

from django.db import transaction
from django.db.models import Count, Max, Min, Sum

from generation import events, payloads
from generation.models import Device, GenerationRequest
from generation.waits import Wait

State = GenerationRequest.State
# With thousands in the queue this takes long enough to be worth sparing; pages ask for themselves now and then.
QUICK_SECONDS, SPARING = 0.2, 20.0

_next_places = 0.0
_told: object = None  # what decided the places when this process told them last
NEWS = payloads.NEWS


def request_announce(pk: uuid.UUID) -> None:
    """Tell its owner the request's state after the commit."""
    transaction.on_commit(partial(request_publish, pk), robust=True)


def request_note(request: GenerationRequest, text: str) -> None:
    """Tell its owner what the engine room does, e.g. that it loads the weights."""
    # Read again: pages ignore what is older than what they know.
    fresh = GenerationRequest.objects.select_related("checkpoint").get(pk=request.pk)
    payload = payloads.request_payload(fresh, places={}, note=text)
    events.publish_text(request.owner_id, {"type": "request.note", "request": payload})


def places_announce() -> None:
    """Tell everybody who waits the place in the queue, after the commit."""
    transaction.on_commit(_publish_places, robust=True)


def places_follow() -> None:
    """Tell the places if what decides them has changed since this process told them, whoever changed it.

    Called now and then by one worker: for what is submitted or dies elsewhere, and for what was told less often.
    """
    if _deciding() != _told:
        _publish_places()


def request_publish(pk: uuid.UUID, places: Mapping[uuid.UUID, Wait] | None = None) -> None:
    """Tell it now. `places`: of those who wait, where somebody knows them already."""
    request = GenerationRequest.objects.select_related("checkpoint").get(pk=pk)
    kind = "request.completed" if request.state == State.COMPLETED else "request.state"
    event = events.TextEvent(type=kind, request=payloads.request_payload(request, places=places))  # type: ignore[typeddict-item]
    events.publish_text(request.owner_id, event)
    if request.state in NEWS and request.finished_at is not None:
        events.publish_news(request.owner_id, {**event, "at": payloads.milliseconds(request.finished_at)})


def _publish_places() -> None:
    global _next_places, _told
    begun = time.monotonic()
    if begun < _next_places:
        return
    deciding = _deciding()
    places = payloads.all_places()
    took = time.monotonic() - begun
    _next_places = begun + took * SPARING if took > QUICK_SECONDS else 0.0
    by_owner: dict[uuid.UUID, dict[str, Wait]] = {}
    for pk, owner in GenerationRequest.objects.queued().values_list("pk", "owner_id"):
        if pk in places:
            by_owner.setdefault(owner, {})[str(pk)] = places[pk]
    for owner, waits in by_owner.items():
        positions = {pk: wait.place for pk, wait in waits.items()}
        words = {pk: wait.words for pk, wait in waits.items()}
        events.publish_text(owner, {"type": "queue.position", "positions": positions, "waits": words})
    _told = deciding


def _deciding() -> object:
    """What decides the places, in short: who waits in which order, and which devices take work."""
    waiting = GenerationRequest.objects.queued().order_by()
    marks = waiting.aggregate(Count("pk"), Sum("version"), Max("created_at"), Max("promoted_at"), Min("sort_at"))
    return (marks, frozenset(one.pk for one in Device.objects.alive() if one.takes_work()))
