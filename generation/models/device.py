"""Device: what the engine room last told of itself, and what operators ask of it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import User
from core.models import UuidModel


def _limit(label: str, meaning: str) -> "models.PositiveIntegerField[int | None, int | None]":
    return models.PositiveIntegerField(label, null=True, blank=True, help_text=meaning)


class DeviceQuerySet(models.QuerySet["Device"]):
    """Devices as those see them who give them work."""

    def alive(self) -> "DeviceQuerySet":
        """Whose worker's heartbeat is fresh."""
        return self.filter(heartbeat_at__gte=timezone.now() - timedelta(seconds=settings.HEARTBEAT_SECONDS * 5))


class Device(UuidModel):
    """One GPU, Metal device or CPU, on any machine. Written by the heartbeat of its worker every few seconds."""

    name = models.SlugField(max_length=40, unique=True)
    kind = models.CharField(max_length=10, default="cpu")
    host = models.CharField(max_length=120, blank=True, help_text="the machine of its worker")
    version = models.CharField(max_length=80, blank=True, help_text="of Tessera, as its worker runs it")
    instance = models.CharField(max_length=40, blank=True, help_text="the data folder that serves it")
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="when a cluster last took it")
    key_mark = models.CharField(max_length=16, blank=True, help_text="tells whether it has the same secret key")
    present = models.JSONField(
        null=True, blank=True, help_text="{checkpoint: sha256, or empty while it is not known}; null: never told"
    )
    paused = models.BooleanField(default=False, help_text="accepts no new request while set")
    draining = models.BooleanField(default=False, help_text="paused for good: to be switched off once it is empty")
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    worker_pid = models.PositiveIntegerField(null=True, blank=True)
    room_pid = models.PositiveIntegerField(null=True, blank=True)
    resident = models.JSONField(default=list, blank=True, help_text="[{name, bytes}, ...] loaded now")
    memory_used = models.BigIntegerField(default=0)
    memory_total = models.BigIntegerField(default=0)
    drawing = models.UUIDField(null=True, blank=True, help_text="the request it draws")
    last_error = models.CharField(max_length=500, blank=True)  # why its engine room does not open; empty when it does
    ledger = models.JSONField(default=dict, blank=True, help_text="as engines.ledger.Ledger, when a room last told it")

    recycles = models.PositiveIntegerField(default=0, help_text="how often its engine room was replaced on purpose")
    recycled_at = models.DateTimeField(null=True, blank=True)
    recycle_reason = models.CharField(max_length=200, blank=True)

    # What an operator chose instead of the setting of the same name; empty leaves the setting.
    memory_budget_mb = _limit("Memory budget (MB)", "what checkpoints and drawing may hold; 0 is measured")
    memory_reserve_mb = _limit("Memory reserve (MB)", "what always stays free; 0 is an eighth, at most 2147 MB")
    warm_budget_mb = _limit("Warm budget (MB)", "for checkpoints that wait in host memory; 0 is measured")
    most_loaded = _limit("Most checkpoints at once", "on the device; 0 is as many as fit")
    idle_minutes = _limit("Idle minutes", "after which a checkpoint is laid aside, twice that: forgotten; 0 is never")
    recycle_after = _limit("Recycle after requests", "0 is never")
    creep_limit_mb = _limit("Creep limit (MB)", "growth after which the engine room is replaced; 0 is never")
    LIMITS = (
        "memory_budget_mb",
        "memory_reserve_mb",
        "warm_budget_mb",
        "most_loaded",
        "idle_minutes",
        "recycle_after",
        "creep_limit_mb",
    )

    # What it costs while it draws; empty leaves the setting.
    watts = _limit("Watts", "what it draws from the wall while it works; for the watt-hours of a picture")
    price_per_hour = models.DecimalField(
        "Price of an hour", max_digits=10, decimal_places=4, null=True, blank=True, help_text="beside electricity"
    )
    COSTS = ("watts", "price_per_hour")

    objects = DeviceQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def is_alive(self) -> bool:
        """Whether its worker's heartbeat is fresh."""
        fresh = timezone.now() - timedelta(seconds=settings.HEARTBEAT_SECONDS * 5)
        return self.heartbeat_at is not None and self.heartbeat_at >= fresh

    def takes_work(self) -> bool:
        """Whether it can be expected to serve somebody: alive, not paused, and its engine room opens."""
        return self.is_alive() and not self.paused and not self.last_error

    def holds(self, checkpoint: str, sha256: str) -> bool:
        """Whether the files of this checkpoint are there, and are the very same as far as that is known."""
        if self.present is None:
            return True
        found = self.present.get(checkpoint)
        return found is not None and (not found or not sha256 or found == sha256)

    def busy_until(self) -> datetime | None:
        """When what it draws now is done, as was predicted; None when it is idle."""
        drawn = self.requests.filter(lease_token__isnull=False)
        ends = [
            started + timedelta(seconds=seconds)
            for started, seconds in drawn.values_list("started_at", "predicted_seconds")
            if started is not None
        ]
        return max(ends, default=None)


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
