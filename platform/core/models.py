"""Abstract bases of our rows. Knows no app."""

import uuid

from django.db import models


def parse_key(value: object) -> uuid.UUID | None:
    """The key that somebody sent as text; None for what is none, so that it is simply not found."""
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


class UuidModel(models.Model):
    """A row with a public, unguessable key and the time of its making."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        abstract = True
