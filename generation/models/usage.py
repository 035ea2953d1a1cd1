"""UsageEntry: the ledger of device-seconds. Rows are added, never changed, never deleted.

Whole numbers only (milliseconds, millijoules, billionths of the currency), so that every sum of them is exact.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q, Sum

from accounts.models import User
from core.models import UuidModel
from generation.models.checkpoint import Checkpoint
from generation.models.project import Project
from generation.models.request import GenerationRequest

MILLI = 1_000
MILLIJOULES_PER_WATT_HOUR = 3_600_000
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: milliseconds of the device, millijoules, billionths of the currency."""

    milliseconds: int = 0
    millijoules: int = 0
    nano: int = 0

    @property
    def seconds(self) -> float:
        """Of the device."""
        return self.milliseconds / MILLI

    @property
    def watt_hours(self) -> float:
        """0 where no wattage was set."""
        return self.millijoules / MILLIJOULES_PER_WATT_HOUR

    @property
    def money(self) -> float:
        """In the currency; 0 where no price was set."""
        return self.nano / NANO

    def shared(self, parts: int) -> "Cost":
        """That of one of so many alike, rounded down."""
        return Cost(self.milliseconds // parts, self.millijoules // parts, self.nano // parts)


class UsageQuerySet(models.QuerySet["UsageEntry"]):
    """Reads and adds."""

    def visible_to(self, user: User) -> Self:
        """One's own."""
        return self.filter(owner=user)

    def ends(self) -> Self:
        """One row for each request that is over: what it was charged."""
        return self.exclude(kind=UsageEntry.Kind.RESERVE)

    def cost(self) -> Cost:
        """What was used in all; what is only reserved left out."""
        found = self.order_by().aggregate(a=Sum("used_ms"), b=Sum("energy_mj"), c=Sum("cost_nano"))
        return Cost(int(found["a"] or 0), int(found["b"] or 0), int(found["c"] or 0))

    def held_ms(self) -> int:
        """Used or reserved, in milliseconds."""
        found = self.order_by().aggregate(a=Sum("used_ms"), b=Sum("reserved_ms"))
        return int(found["a"] or 0) + int(found["b"] or 0)

    def update(self, **changes: Any) -> int:
        """Never."""
        raise TypeError("The ledger is only added to.")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Never."""
        raise TypeError("The ledger is only added to.")


class UsageEntry(UuidModel):
    """One line of the ledger. A request has a first line when it is accepted and a last one when it is over.

    reserve: what it may take, as foretold. settle: the reservation is given back and what it took is charged. refund:
    the reservation is given back and nothing is charged. All lines of a request carry the day on which it was made.
    """

    class Kind(models.TextChoices):
        RESERVE = "reserve"
        SETTLE = "settle"
        REFUND = "refund"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    # The ledger outlives what it is about, so the database does not insist on the request.
    request = models.ForeignKey(GenerationRequest, models.DO_NOTHING, related_name="usage", db_constraint=False)
    owner = models.ForeignKey(User, models.PROTECT, related_name="usage")
    project = models.ForeignKey(Project, models.PROTECT, related_name="usage")
    checkpoint = models.ForeignKey(Checkpoint, models.PROTECT, related_name="usage")
    device = models.CharField(max_length=40, blank=True, help_text="name of the one that drew; empty where none did")
    lane = models.CharField(max_length=10, choices=GenerationRequest.Lane.choices)
    day = models.DateField(help_text="on which the request was made, in the time zone of the portal")
    pictures = models.PositiveSmallIntegerField(default=0)
    reserved_ms = models.BigIntegerField(default=0)
    used_ms = models.BigIntegerField(default=0)
    energy_mj = models.BigIntegerField(default=0, help_text="by the wattage of the device at that time")
    cost_nano = models.BigIntegerField(default=0, help_text="by the prices at that time")

    objects: ClassVar[UsageQuerySet] = UsageQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ("-created_at",)
        verbose_name_plural = "usage entries"
        indexes = (models.Index(fields=["owner", "day"]), models.Index(fields=["project", "day"]))
        constraints = (
            models.UniqueConstraint(
                fields=["request"], condition=Q(kind="reserve"), name="one_reservation_of_a_request"
            ),
            models.UniqueConstraint(
                fields=["request"], condition=Q(kind__in=["settle", "refund"]), name="one_end_of_a_request"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.reserved_ms + self.used_ms} ms"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Once."""
        if not self._state.adding:
            raise TypeError("The ledger is only added to.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Never."""
        raise TypeError("The ledger is only added to.")

    @property
    def cost(self) -> Cost:
        """What this line charges."""
        return Cost(self.used_ms, self.energy_mj, self.cost_nano)
