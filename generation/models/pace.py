"""Pace: how long one device takes to draw and to load with one checkpoint, from its newest finished requests."""

from django.db import models

from core.models import UuidModel
from generation.models.checkpoint import Checkpoint
from generation.models.device import Device


class Pace(UuidModel):
    """Written by the worker of its device only, so nobody waits for anybody. Survives the requests it is made of."""

    checkpoint = models.ForeignKey(Checkpoint, models.CASCADE, related_name="paces")
    device = models.ForeignKey(Device, models.CASCADE, related_name="paces")
    draws = models.JSONField(default=list, help_text="[[width, height, steps, count, capability, seconds], ...]")
    loads = models.JSONField(default=list, help_text="[seconds, ...]")

    class Meta:
        constraints = (models.UniqueConstraint(fields=["checkpoint", "device"], name="one_pace_each"),)

    def __str__(self) -> str:
        return f"{self.checkpoint} on {self.device}"
