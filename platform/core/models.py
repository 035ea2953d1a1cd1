"""Abstract bases of our rows. Knows no app."""

import uuid

from django.db import models


class UuidModel(models.Model):
    """A row with a public, unguessable key and the time of its making."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        abstract = True
