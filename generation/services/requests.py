"""Requests, as their owners move them: submit, cancel, retry. What the runner does is in transitions."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from accounts.services import audit_record
from core.errors import TesseraError
from generation.models import Checkpoint, GenerationRequest, Image, Project, Upload
from generation.presence import held_by_nobody
from generation.services.announcements import places_announce, request_announce, request_publish
from generation.services.bell import ring
from generation.services.forecast import predicted_seconds, promise_record
from generation.services.quotas import quota_check
from generation.services.usage import usage_end, usage_reserve
from generation.services.wishes import WishRefusedError, wish_check

State = GenerationRequest.State
BY_OPERATOR = "An operator canceled it."


class WrongStateError(TesseraError):
    """The request is not in a state in which this can be done."""

    code = "wrong_state"
    status = 409


@transaction.atomic
def request_submit(
    *,
    user: User,
    project: Project,
    checkpoint: Checkpoint | str | None,
    params: Mapping[str, Any],
    source_image: Image | None = None,
    source_upload: Upload | None = None,
    describe: bool = False,
    lane: str = GenerationRequest.Lane.NOW,
) -> GenerationRequest:
    """Accept a wish into the queue; once this returns and commits, it ends completed, failed or canceled.

    `describe`: words about the source are wanted, and `params` need hold no more than a question, if that.
    `lane`: one of GenerationRequest.Lane. Raises TesseraError, also when a quota is spent.
    """
    _check_lane(lane)
    wish = wish_check(
        user=user,
        project=project,
        checkpoint=checkpoint,
        params=params,
        source_image=source_image,
        source_upload=source_upload,
        describe=describe,
    )
    seconds = predicted_seconds(wish.checkpoint, wish.params, capability=wish.capability)
    quota_check(user=user, project=project, checkpoint=wish.checkpoint, lane=lane, seconds=seconds)
    request = GenerationRequest.objects.create(
        owner=user,
        project=project,
        checkpoint=wish.checkpoint,
        capability=wish.capability,
        prompt=wish.prompt,
        params=wish.params,
        source_image=wish.source_image,
        source_upload=wish.source_upload,
        lane=lane,
        predicted_seconds=seconds,
    )
    usage_reserve(request=request)
    ring(checkpoint=wish.checkpoint)
    transaction.on_commit(partial(_promise, request), robust=True)
    return request


def _promise(request: GenerationRequest) -> None:
    """Not in the transaction: the whole queue is played forward for it, and nobody may have to wait for that."""
    request.told = promise_record(request=request)
    request_publish(request.pk, request.told)


def _check_lane(lane: str) -> None:
    if lane not in GenerationRequest.Lane.values:
        raise WishRefusedError("There is no such lane.", hint="Use now or overnight.", code="lane_unknown")


@transaction.atomic
def request_cancel(*, request: GenerationRequest, reason: str = "") -> GenerationRequest:
    """Stop it, whatever it does; harmless when it is final. A drawn one stops within a step, see the runner."""
    row, now = GenerationRequest.objects.filter(pk=request.pk), timezone.now()
    # Or it may be claimed, or put back, between the two updates, and neither would meet it. SQLite has one writer.
    row.select_for_update().values_list("pk").first()
    version = F("version") + 1
    queued = row.filter(state=State.QUEUED)
    end = {"version": version, "cancel_requested_at": now, "error_message": reason[:500]}
    if queued.update(state=State.CANCELED, finished_at=now, device_seconds=F("kept_seconds"), **end):
        usage_end(request=request)
        places_announce()
    else:
        row.filter(state__in=GenerationRequest.LEASED, cancel_requested_at=None).update(**end)
    request_announce(request.pk)
    request.refresh_from_db()
    return request


def request_retry(*, request: GenerationRequest, user: User) -> GenerationRequest:
    """A new request with the same wish. For those that failed or were canceled."""
    if request.state not in {State.FAILED, State.CANCELED}:
        raise WrongStateError(
            "Only a request that failed or was canceled can be tried again.",
            hint="Open the picture and choose remix to draw it anew.",
        )
    if request.starts_from_picture and not (request.source_image or request.source_upload):
        raise TesseraError(
            "The picture it started from is not there any more.", hint="Hand it in again.", code="source_missing"
        )
    return request_submit(
        user=user,
        project=request.project,
        checkpoint=request.checkpoint,
        params={**request.params, "prompt": request.prompt},
        source_image=request.source_image,
        source_upload=request.source_upload,
        describe=request.capability == "describe",
        lane=request.lane,
    )


@transaction.atomic
def request_cancel_for(*, request: GenerationRequest, operator: User) -> GenerationRequest:
    """An operator cancels what somebody waits for. The owner reads that, and it is written down."""
    if not request.is_final:
        request_cancel(request=request, reason=BY_OPERATOR)
        _record(request, operator, "request.cancel")
    return request


@transaction.atomic
def request_retry_for(*, request: GenerationRequest, operator: User) -> GenerationRequest:
    """An operator lets the wish of somebody be drawn again, in that person's name. It is written down."""
    again = request_retry(request=request, user=request.owner)
    _record(request, operator, "request.retry", f"as {again.pk}")
    return again


def _record(request: GenerationRequest, operator: User, verb: str, detail: str = "") -> None:
    audit_record(
        actor=operator, owner=request.owner, verb=verb, target_kind="request", target_id=request.pk, detail=detail
    )


def requests_refuse() -> int:
    """Fail what waits and can never be drawn: the owner left, or the checkpoint is switched off. Returns how many."""
    nowhere = held_by_nobody()
    hopeless = GenerationRequest.objects.queued().filter(
        Q(owner__is_active=False) | Q(checkpoint__enabled=False) | Q(checkpoint__name__in=nowhere)
    )
    refused = 0
    for request in hopeless.select_related("owner", "checkpoint"):
        refused += _refuse(request)
    if refused:
        places_announce()
    return refused


@transaction.atomic
def _refuse(request: GenerationRequest) -> int:
    if not request.owner.is_active:
        code, message, hint = "owner_inactive", "The account of the owner was deactivated.", ""
    elif request.checkpoint.enabled:
        code, hint = "checkpoint_nowhere", "Try again with another checkpoint, or ask an operator."
        message = f"No device here has the files of the checkpoint “{request.checkpoint}”."
    else:
        why = request.checkpoint.disabled_reason or "An operator did this."
        code, hint = "checkpoint_disabled", "Try again with another checkpoint."
        message = f"The checkpoint “{request.checkpoint}” was switched off. {why}"
    moved = GenerationRequest.objects.filter(pk=request.pk, state=State.QUEUED).update(
        state=State.FAILED,
        version=F("version") + 1,
        finished_at=timezone.now(),
        device_seconds=F("kept_seconds"),
        error_code=code,
        error_message=message[:500],
        error_hint=hint,
    )
    if moved:
        usage_end(request=request)
        request_announce(request.pk)
    return moved
