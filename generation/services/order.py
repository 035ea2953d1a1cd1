"""The order of what waits, as far as people say: one's own to the front, and an operator's first before everybody."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.services import audit_record
from core.errors import TesseraError
from generation.models import GenerationRequest
from generation.services.announcements import places_announce

BEFORE = timedelta(microseconds=1)


class NotWaitingError(TesseraError):
    """It is drawn already, or over."""

    code = "wrong_state"
    status = 409


@transaction.atomic
def request_to_front(*, request: GenerationRequest) -> None:
    """Before all that its owner waits for in the same lane. Nobody else's turn changes."""
    own = GenerationRequest.objects.queued().filter(owner=request.owner_id, lane=request.lane)
    first = own.first()
    if first is None or first.pk != request.pk:
        earliest = request.sort_at if first is None else first.sort_at
        _require(own.filter(pk=request.pk).update(sort_at=earliest - BEFORE))
    places_announce()


@transaction.atomic
def request_promote(*, request: GenerationRequest, operator: User) -> None:
    """Before everybody; of several that were put first, the earlier one. The owner reads who did it."""
    _require(GenerationRequest.objects.queued().filter(pk=request.pk).update(promoted_at=timezone.now()))
    audit_record(
        actor=operator, owner=request.owner, verb="request.promote", target_kind="request", target_id=request.pk
    )
    places_announce()


@transaction.atomic
def request_demote(*, request: GenerationRequest, operator: User) -> None:
    """What was put first waits its turn again. The owner reads who did it."""
    waiting = GenerationRequest.objects.queued().filter(pk=request.pk, promoted_at__isnull=False)
    if not waiting.update(promoted_at=None):
        raise NotWaitingError("This request does not wait among those that were put first.")
    audit_record(
        actor=operator, owner=request.owner, verb="request.demote", target_kind="request", target_id=request.pk
    )
    places_announce()


def _require(moved: int) -> None:
    if not moved:
        raise NotWaitingError("This request is not waiting any more.", hint="Load the page again.")
