"""Leases: who draws a request, and until when that is believed.

The heartbeat renews a lease while its drawing goes on. One that runs out, or whose worker is known to be dead, is
reaped: the request is canceled if somebody asked for that, else queued again, else failed after the last attempt.
"""

import logging

from django.db.models import Q
from django.utils import timezone

from generation.fitting import unfit_on
from generation.models import Device, GenerationRequest
from generation.presence import usable_on
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


def work_waits(device: Device) -> bool:
    """Whether this device, idle, has something to do: a request it can draw, or a lease that ran out."""
    if GenerationRequest.objects.filter(lease_until__lt=timezone.now(), state__in=GenerationRequest.LEASED).exists():
        return True
    devices = list(Device.objects.all())
    if any(one.pk == device.pk and one.paused for one in devices):
        return False
    waiting = GenerationRequest.objects.queued().filter(checkpoint__enabled=True)
    if left_to_others := unfit_on(devices).get(device.pk):
        waiting = waiting.exclude(pk__in=left_to_others)
    names = usable_on(devices).get(device.pk)
    return waiting.exists() if names is None else waiting.filter(checkpoint__name__in=names).exists()


def _reap(request: GenerationRequest, over: Q) -> int:
    try:
        state = request_end_lease(request=request, code=CODE, message=MESSAGE, hint=HINT, still=over)
    except LeaseLostError:
        return 0
    logger.warning("Request %s lost its worker in attempt %d: %s", request.pk, request.attempt, state)
    return 1
