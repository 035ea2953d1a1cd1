"""Device: what the engine room last told of itself, and what operators ask of it."""

from django.db import models

from accounts.models import User
from core.models import UuidModel


class Device(UuidModel):
    """One GPU, Metal device or CPU. Written by the heartbeat of its worker every few seconds."""

    name = models.SlugField(max_length=40, unique=True)
    kind = models.CharField(max_length=10, default="cpu")
    paused = models.BooleanField(default=False, help_text="accepts no new request while set")
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    worker_pid = models.PositiveIntegerField(null=True, blank=True)
    room_pid = models.PositiveIntegerField(null=True, blank=True)
    resident = models.JSONField(default=list, blank=True, help_text="[{name, bytes}, ...] loaded now")
    memory_used = models.BigIntegerField(default=0)
    memory_total = models.BigIntegerField(default=0)
    drawing = models.UUIDField(null=True, blank=True, help_text="the request it draws")
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class DeviceCommand(UuidModel):
    """What an operator asks of a device; its worker reads it between two requests."""

    class Kind(models.TextChoices):
        UNLOAD = "unload"
        RESTART = "restart"

    device = models.ForeignKey(Device, models.CASCADE, related_name="commands")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    requested_by = models.ForeignKey(User, models.SET_NULL, null=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("created_at",)

    def __str__(self) -> str:
        return f"{self.kind} {self.device}"
