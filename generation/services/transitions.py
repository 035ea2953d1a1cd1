"""How a claimed request moves on. Every move is a conditional UPDATE, fenced by the lease token.

Whoever lost the lease gets LeaseLostError and must stop: somebody else owns the request now.
"""

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from core.errors import TesseraError
from generation.models import GenerationRequest
from generation.services.announcements import places_announce, request_announce
from generation.services.images import Drawn, image_store
from generation.services.usage import usage_end

State = GenerationRequest.State
LEASED = GenerationRequest.LEASED
ALWAYS = Q()


class LeaseLostError(TesseraError):
    """The request was given to somebody else, or is final already."""

    code = "lease_lost"


def request_run(*, request: GenerationRequest) -> None:
    """The checkpoint is loaded and the drawing begins."""
    _move(request, (State.LOADING,), State.RUNNING)


def request_progress(*, request: GenerationRequest, step: int, steps: int) -> None:
    """Remember how far it is, for snapshots. No new version and no event: the fragments tell that."""
    _fenced(request, LEASED).update(step=min(step, steps), steps=steps)


def request_words(*, request: GenerationRequest, answer: str) -> None:
    """Remember what has been said so far, for snapshots. As with progress, no new version and no event."""
    _fenced(request, LEASED).update(answer=answer)


def request_save(*, request: GenerationRequest) -> None:
    """Every picture is drawn and written."""
    _move(request, (State.LOADING, State.RUNNING), State.SAVING)


def request_complete(
    *,
    request: GenerationRequest,
    pictures: Sequence[Drawn],
    figures: dict[str, Any],
    answer: str = "",
) -> bool:
    """The rows of all pictures, or the answer, the charge and the end, in one transaction.

    False when canceled meanwhile.
    """
    saving, seconds = _fenced(request, (State.SAVING,)), figures.get("device_seconds", 0.0)
    with transaction.atomic():
        changes = {"figures": figures, "answer": answer, "seconds": seconds}
        if not _ended(saving.filter(cancel_requested_at=None), State.COMPLETED, **changes):
            _require(saving)
            return False
        for drawn in pictures:
            image_store(request=request, drawn=drawn)
        usage_end(request=request, seconds=seconds, pictures=len(pictures))
        request_announce(request.pk)
    return True


def request_keep(*, request: GenerationRequest, pictures: Sequence[Drawn], seconds: float) -> bool:
    """Some of its pictures are kept, the rest waits again, so that it gives way. False when canceled meanwhile."""
    saving = _fenced(request, (State.SAVING,))
    with transaction.atomic():
        more = {"attempt": 0, "kept": F("kept") + len(pictures), "kept_seconds": F("kept_seconds") + seconds}
        if not _queued(saving.filter(cancel_requested_at=None), **more):
            _require(saving)
            return False
        for drawn in pictures:
            image_store(request=request, drawn=drawn)
        request_announce(request.pk)
        places_announce()
    return True


@transaction.atomic
def request_fail(*, request: GenerationRequest, code: str, message: str, hint: str = "", still: Q = ALWAYS) -> None:
    """It ends with a reason, and costs nothing but what is kept of it. Here and below, `still` must hold then."""
    error: dict[str, Any] = {"error_code": code[:60], "error_message": message[:500], "error_hint": hint[:500]}
    if _ended(_fenced(request, LEASED, still), State.FAILED, **error) != 1:
        raise LeaseLostError("The request was given to somebody else.")
    usage_end(request=request)
    request_announce(request.pk)


@transaction.atomic
def request_stop(*, request: GenerationRequest, seconds: float = 0.0, still: Q = ALWAYS) -> None:
    """It ends because somebody canceled it (a reason given then stays), or because its owner was deactivated.

    `seconds` of the device are charged: those of drawing, when some of it was seen already.
    """
    left = GenerationRequest.objects.filter(pk=request.pk, cancel_requested_at=None, owner__is_active=False).exists()
    reason: dict[str, Any] = {"error_message": "The account of the owner was deactivated."} if left else {}
    if _ended(_fenced(request, LEASED, still), State.CANCELED, seconds=seconds, **reason) != 1:
        raise LeaseLostError("The request was given to somebody else.")
    usage_end(request=request, seconds=seconds)
    request_announce(request.pk)


def request_requeue(*, request: GenerationRequest, code: str = "", still: Q = ALWAYS) -> None:
    """Back to the queue for another attempt. The one that failed stays counted, and says why until the next claim."""
    _return(request, still, error_code=code[:60])


def request_give_back(*, request: GenerationRequest) -> None:
    """Back to the queue because the worker stops: no fault of the request, so the attempt is not counted."""
    _return(request, ALWAYS, attempt=F("attempt") - 1)


def request_end_lease(*, request: GenerationRequest, code: str, message: str, hint: str = "", still: Q = ALWAYS) -> str:
    """What becomes of a request whose drawing broke off: canceled, queued again or failed. Returns the new state."""
    fresh = GenerationRequest.objects.select_related("owner").get(pk=request.pk)
    if fresh.cancel_requested_at is not None or not fresh.owner.is_active:
        request_stop(request=request, still=still)
        return State.CANCELED
    if fresh.attempt < settings.MAX_ATTEMPTS:
        request_requeue(request=request, code=code, still=still)
        return State.QUEUED
    request_fail(request=request, code=code, message=message, hint=hint, still=still)
    return State.FAILED


def lease_renew(*, pk: uuid.UUID, token: uuid.UUID, until: datetime.datetime) -> bool:
    """Keep a lease alive; false when it is lost."""
    leased = GenerationRequest.objects.filter(pk=pk, lease_token=token, state__in=LEASED)
    return leased.update(lease_until=until) == 1


def _fenced(request: GenerationRequest, states: Sequence[str], still: Q = ALWAYS) -> QuerySet[GenerationRequest]:
    return GenerationRequest.objects.filter(still, pk=request.pk, lease_token=request.lease_token, state__in=states)


def _require(fenced: QuerySet[GenerationRequest]) -> None:
    if not fenced.exists():
        raise LeaseLostError("The request was given to somebody else.")


def _move(request: GenerationRequest, states: Sequence[str], state: str) -> None:
    if _fenced(request, states).update(state=state, version=F("version") + 1) != 1:
        raise LeaseLostError("The request was given to somebody else.")
    request.state = state
    request_announce(request.pk)


def _ended(fenced: QuerySet[GenerationRequest], state: str, seconds: float = 0.0, **changes: Any) -> int:
    changes = {"answer": "", "device_seconds": F("kept_seconds") + seconds, **changes}  # half an answer is none
    return fenced.update(
        state=state,
        version=F("version") + 1,
        lease_token=None,
        lease_until=None,
        finished_at=timezone.now(),
        **changes,
    )


def _return(request: GenerationRequest, still: Q, **changes: Any) -> None:
    # A cancel that came in between wins: the request must not be drawn again.
    if _queued(_fenced(request, LEASED, still).filter(cancel_requested_at=None), **changes) != 1:
        request_stop(request=request, still=still)
        return
    request_announce(request.pk)
    places_announce()


def _queued(fenced: QuerySet[GenerationRequest], **changes: Any) -> int:
    return fenced.update(
        state=State.QUEUED,
        version=F("version") + 1,
        lease_token=None,
        lease_until=None,
        step=0,
        steps=0,
        started_at=None,
        answer="",
        **changes,
    )
