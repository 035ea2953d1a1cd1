"""Who may be drawn beside a request: others for the same checkpoint, as long as it is nobody else's turn.

What broke off once is drawn alone, so that a request that kills the room costs others one attempt at most.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import DatabaseError

from generation import scheduler
from generation.models import Device, DeviceCommand, GenerationRequest
from generation.services.announcements import places_announce, request_announce

POLL_SECONDS = 0.5
SPARING = 20.0  # with thousands in the queue a look takes so long that it may be no more than this part of the time
LONGEST_SECONDS = 600.0  # after which nobody joins any more: an operator's wishes and upkeep wait for the end


@dataclass(slots=True)
class Company:
    """Asked with the number of pictures that are drawn now; claims at most one request at a time."""

    device: Device
    first: GenerationRequest
    began: float = field(default_factory=time.monotonic)
    next_look: float = 0.0

    def __call__(self, pictures: int) -> Sequence[GenerationRequest]:
        now = time.monotonic()
        checkpoint = self.first.checkpoint
        if not checkpoint.draws_together or self.first.capability == "describe" or self.first.attempt > 1:
            return ()
        if pictures >= settings.SIDE_BY_SIDE or now - self.began > LONGEST_SECONDS or now < self.next_look:
            return ()
        try:
            return self._claim(checkpoint.name, settings.SIDE_BY_SIDE - pictures)
        except DatabaseError:
            return ()  # nothing is lost: it is served later
        finally:
            done = time.monotonic()
            self.next_look = done + max(POLL_SECONDS, SPARING * (done - now))

    def _claim(self, checkpoint: str, most: int) -> Sequence[GenerationRequest]:
        if DeviceCommand.objects.filter(device=self.device, done_at=None).exists():
            return ()
        overnight = self.first.lane == GenerationRequest.Lane.OVERNIGHT
        request = scheduler.claim_companion(self.device, checkpoint, most, overnight=overnight)
        if request is None:
            return ()
        request_announce(request.pk)
        places_announce()
        return (request,)
