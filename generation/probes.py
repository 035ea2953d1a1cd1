"""What /readyz asks of the workshop."""

from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from generation.models import Device


def database() -> str | None:
    """The database answers."""
    try:
        Device.objects.exists()
    except DatabaseError as error:
        return str(error)
    return None


def worker() -> str | None:
    """A worker's heartbeat is fresh."""
    fresh = timezone.now() - timedelta(seconds=settings.HEARTBEAT_SECONDS * 5)
    try:
        alive = Device.objects.filter(heartbeat_at__gte=fresh).exists()
    except DatabaseError as error:
        return str(error)
    return None if alive else "no heartbeat of a worker"
