"""Rows for tests of the queue: a checkpoint without files, wishes, claimed requests."""

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from generation.models import Checkpoint, Device, GenerationRequest, Project
from generation.services.requests import request_submit


def make_checkpoint(name: str = "tiny", **changes: Any) -> Checkpoint:
    """A row only; nothing can be drawn with it."""
    values: dict[str, Any] = {
        "title": name.capitalize(),
        "family": "diffusion",
        "path": "/nowhere",
        "capabilities": ["text_to_image"],
        "sizes": [[32, 32], [64, 32]],
        "defaults": {"steps": 8, "guidance": 3.0},
    }
    return Checkpoint.objects.create(name=name, **{**values, **changes})


def wish(**changes: Any) -> dict[str, Any]:
    """Parameters that are accepted."""
    return {"prompt": "a cat on blue", "width": 32, "height": 32, "count": 1, "seed": 7, **changes}


def submit(
    user: User, project: Project, checkpoint: Checkpoint, lane: str = "now", **changes: Any
) -> GenerationRequest:
    """Through the front door."""
    return request_submit(user=user, project=project, checkpoint=checkpoint, params=wish(**changes), lane=lane)


def lease(request: GenerationRequest, *, state: str = "running", attempt: int = 1, seconds: float = 60) -> None:
    """As if a worker had claimed it; the lease runs out in `seconds`."""
    request.device, _ = Device.objects.get_or_create(name="main")
    request.state, request.attempt = state, attempt
    request.lease_token, request.lease_until = uuid.uuid4(), timezone.now() + timedelta(seconds=seconds)
    request.save(update_fields=["device", "state", "attempt", "lease_token", "lease_until"])
