"""What a page must know when it comes or comes back, from the database. Reads only."""

import json
import uuid
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from accounts.models import User
from generation import payloads
from generation.events import RequestPayload, TextEvent
from generation.models import GenerationRequest

# Daphne refuses messages above 1 MiB. What is left out is asked for one by one.
CHARACTERS = 400_000
NEWS_AGE = timedelta(hours=1)
NEWS_MOST = 5
DRAWN = frozenset(map(str, GenerationRequest.LEASED))


def of_user(user: User) -> tuple[TextEvent, list[uuid.UUID]]:
    """The event with all open requests of `user`, and those that are being drawn."""
    found = payloads.waits_of(user)
    requests = payloads.open_requests(user, found)
    places = {str(key): wait.place for key, wait in found.items()}
    waits = {str(key): wait.words for key, wait in found.items()}
    running = [uuid.UUID(request["id"]) for request in requests if request["state"] in DRAWN]
    requests.sort(key=lambda request: request["state"] not in DRAWN)
    paused = payloads.drawing_paused()
    return {
        "type": "snapshot",
        "requests": _fitting(requests),
        "positions": places,
        "paused": paused,
        "waits": waits,
    }, running


def news(user: User, since: int) -> TextEvent:
    """What ended for `user` since then (milliseconds, as browsers count), not long ago, the newest few."""
    now = timezone.now()
    start = max(datetime.fromtimestamp(since / 1000, UTC), now - NEWS_AGE) if since else now
    own = GenerationRequest.objects.visible_to(user).filter(state__in=payloads.NEWS, finished_at__gt=start)
    found = own.select_related("checkpoint").order_by("-finished_at")[:NEWS_MOST]
    told = [payloads.request_payload(request, places={}) for request in found]
    at = payloads.milliseconds(now)
    return {"type": "snapshot", "requests": [], "positions": {}, "news": told, "at": at}


def of_request(user: User, request_id: uuid.UUID) -> RequestPayload | None:
    """One request of `user`. None for one of somebody else, just as for an unknown one."""
    own = GenerationRequest.objects.visible_to(user).select_related("checkpoint")
    request = own.filter(pk=request_id).first()
    return payloads.request_payload(request) if request else None


def _fitting(requests: list[RequestPayload]) -> list[RequestPayload]:
    size, shown = 0, []
    for request in requests:
        size += len(json.dumps(request))
        if size < CHARACTERS:
            shown.append(request)
    return shown
