"""GenerationRequest: the durable queue. A row is claimed by compare-and-swap and fenced by its lease token."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from core.models import UuidModel
from generation.engines.params import NEEDS_SOURCE
from generation.models.checkpoint import Checkpoint
from generation.models.project import Project


class RequestQuerySet(models.QuerySet["GenerationRequest"]):
    """The only way doors read requests."""

    def visible_to(self, user: User) -> "RequestQuerySet":
        """A request is private to its owner; members see the pictures, not the queue of others."""
        return self.filter(owner=user)

    def queued(self) -> "RequestQuerySet":
        """Waiting; one's own are in order."""
        return self.filter(state=GenerationRequest.State.QUEUED).order_by("sort_at", "id")

    def open(self) -> "RequestQuerySet":
        """Not yet final."""
        return self.exclude(state__in=GenerationRequest.FINAL)


class GenerationRequest(UuidModel):
    """One wish for pictures, or for words about one.

    queued, loading, running, saving; completed, failed and canceled are final.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        LOADING = "loading"
        RUNNING = "running"
        SAVING = "saving"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELED = "canceled"

    class Lane(models.TextChoices):
        NOW = "now"
        OVERNIGHT = "overnight"

    FINAL = (State.COMPLETED, State.FAILED, State.CANCELED)
    LEASED = (State.LOADING, State.RUNNING, State.SAVING)

    owner = models.ForeignKey(User, models.PROTECT, related_name="requests")
    project = models.ForeignKey(Project, models.PROTECT, related_name="requests")
    checkpoint = models.ForeignKey(Checkpoint, models.PROTECT, related_name="requests")
    capability = models.CharField(max_length=20, default="text_to_image")
    prompt = models.TextField(max_length=4000)
    params = models.JSONField(default=dict, help_text="as GenerationParams: width height count seed steps ...")
    source_image = models.ForeignKey("generation.Image", models.SET_NULL, null=True, blank=True, related_name="used_by")
    source_upload = models.ForeignKey(
        "generation.Upload", models.SET_NULL, null=True, blank=True, related_name="used_by"
    )

    answer = models.TextField(blank=True, help_text="what a describe request was told, so far or at its end")

    lane = models.CharField(
        max_length=10, choices=Lane.choices, default=Lane.NOW, help_text="overnight gives way to now"
    )
    sort_at = models.DateTimeField(default=timezone.now, help_text="one's own requests go by it, earliest first")
    promoted_at = models.DateTimeField(null=True, blank=True, help_text="when an operator put it before everybody")
    predicted_seconds = models.FloatField(default=0, help_text="of the device, as foretold when it was submitted")

    # Told once, when it was accepted, and never changed: operators see what share of them held.
    promised_p50_at = models.DateTimeField(null=True, blank=True, help_text="when it is done in half of the cases")
    promised_p90_at = models.DateTimeField(null=True, blank=True, help_text="when it is done in nine of ten cases")

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    version = models.PositiveIntegerField(default=0, help_text="grows with every change of state")
    attempt = models.PositiveSmallIntegerField(default=0, help_text="counted when claimed")
    # Not the attempt: one that is given back counts no attempt, and pages must not mix the two drawings.
    run = models.PositiveIntegerField(default=0, help_text="grows with every claim, never shrinks")
    device = models.ForeignKey("generation.Device", models.SET_NULL, null=True, blank=True, related_name="requests")
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    # Of the lane overnight, which gives way between two pictures: what is drawn is kept, the rest waits again.
    kept = models.PositiveSmallIntegerField(default=0, help_text="pictures that are kept while the rest waits")
    kept_seconds = models.FloatField(default=0, help_text="of the device, for those")
    step = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)

    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    error_hint = models.CharField(max_length=500, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True, help_text="load, first fragment, total, peak memory, ...")
    # Written once, at the end: what failed, came out black or was canceled unseen costs its owner nothing.
    device_seconds = models.FloatField(default=0, help_text="of drawing, as charged; loading left out")

    objects = RequestQuerySet.as_manager()

    # Not in the database: places and waiting times as they were when this was accepted, for the page that asked.
    told: Mapping[uuid.UUID, Any] = {}

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=["state", "sort_at"]),
            models.Index(fields=["owner", "-created_at"]),
        )
        constraints = (
            models.CheckConstraint(
                name="lease_goes_with_a_leased_state",
                condition=Q(state__in=["loading", "running", "saving"], lease_token__isnull=False)
                | (~Q(state__in=["loading", "running", "saving"]) & Q(lease_token__isnull=True)),
            ),
        )

    def __str__(self) -> str:
        return f"{self.pk} ({self.state})"

    @property
    def is_final(self) -> bool:
        """Final states are never left."""
        return self.state in self.FINAL

    @property
    def starts_from_picture(self) -> bool:
        """Whether it makes no sense without `source_image` or `source_upload`."""
        return self.capability in NEEDS_SOURCE

    @property
    def portion(self) -> int:
        """How many of its pictures are drawn before others have a turn: all, but one of those that give way."""
        left = max(int(self.param("count", 1)) - self.kept, 1)
        return 1 if gives_way(self.lane, self.checkpoint.draws_together) else left

    def param(self, name: str, default: Any = None) -> Any:
        """One value of `params`."""
        return self.params.get(name, default)


def gives_way(lane: str, draws_together: bool) -> bool:
    """Whether such a request is drawn a picture at a time. What is drawn side by side is done sooner at one go."""
    return lane == GenerationRequest.Lane.OVERNIGHT and not draws_together
