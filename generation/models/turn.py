"""Turn: how much of the devices' time a person was given, as the policy counts it. Rows of the scheduler."""

from django.db import models

from accounts.models import User
from core.models import UuidModel


class Turn(UuidModel):
    """Kept in a row so that all clusters and pages see the same turns, and a restart gives nobody a fresh start.

    Changed with the claim that it is about, by generation.scheduler alone.
    """

    owner = models.OneToOneField(User, models.CASCADE, related_name="turn")
    account = models.FloatField(default=0, help_text="device-seconds charged, counted from the level when they joined")
    level = models.FloatField(default=0, help_text="the least account of those who waited when this was charged")

    class Meta:
        indexes = (models.Index(fields=["-level"]),)

    def __str__(self) -> str:
        return f"{self.owner}: {self.account:.0f} s"
