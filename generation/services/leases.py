"""Leases: who draws a request, and until when that is believed.

The heartbeat renews a lease while its drawing goes on. One that runs out, or whose worker is known to be dead, is
reaped: the request is canceled if somebody asked for that, else queued again, else failed after the last attempt.
"""

import logging

from django.db.models import Q
from django.utils import timezone

from generation.models import Device, GenerationRequest
from generation.services.transitions import LeaseLostError, request_end_lease

logger = logging.getLogger(__name__)

CODE = "worker_lost"
MESSAGE = "The worker was lost while it drew this, more than once."
HINT = "Try again; if it happens again, tell an operator."


def leases_reap(*, dead: Device | None = None) -> int:
    """Take back leases that ran out, and every lease of a device whose worker is known to be `dead`."""
    over = Q(lease_until__lt=timezone.now())
    if dead is not None:
        over |= Q(device=dead) | Q(device=None)
    reaped = 0
    for request in GenerationRequest.objects.filter(over, state__in=GenerationRequest.LEASED):
        reaped += _reap(request, over)
    return reaped


def _reap(request: GenerationRequest, over: Q) -> int:
    try:
        state = request_end_lease(request=request, code=CODE, message=MESSAGE, hint=HINT, still=over)
    except LeaseLostError:
        return 0
    logger.warning("Request %s lost its worker in attempt %d: %s", request.pk, request.attempt, state)
    return 1
