"""People, how much they may ask, and the audit trail. Rows are changed by accounts.services only."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.db.models.functions import Lower

from accounts.words import deed
from core.models import UuidModel


class UserManager(BaseUserManager["User"]):
    """Makes people by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """A person who can log in."""
        user = self.model(email=self.normalize_email(email), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """An operator with every right."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(UuidModel, AbstractUser):
    """A person. Logs in with the e-mail address; `is_staff` makes an operator."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    must_change_password = models.BooleanField(default=False, help_text="the password was made by somebody else")
    recipes_travel = models.BooleanField(
        "Recipes travel inside my pictures",
        default=True,
        help_text="Prompt, seed and settings are written into the files that you and the members of your projects "
        "download. That a machine drew the picture is always written into it.",
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = (
            models.UniqueConstraint(
                Lower("email"),
                name="one_person_per_address",
                violation_error_message="Somebody here has this address already.",
            ),
        )

    def __str__(self) -> str:
        return self.name or self.email

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Addresses are kept in small letters: people type them as they like."""
        self.email = self.email.lower()
        super().save(*args, **kwargs)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """There is one kind of operator, and the admin says what operators may do."""
        return self.is_active and self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        """As has_perm."""
        return self.has_perm(app_label)


class QuotaLimits(UuidModel):
    """How much may be asked for. An empty limit is that of the settings, 0 is none at all."""

    seconds_a_day = models.PositiveIntegerField(
        "Device-seconds a day", null=True, blank=True, help_text="in the lane now; empty is as set, 0 is unlimited"
    )
    overnight_seconds_a_day = models.PositiveIntegerField(
        "Device-seconds a day, overnight", null=True, blank=True, help_text="empty is as set, 0 is unlimited"
    )
    most_queued = models.PositiveIntegerField(
        "Open requests at once", null=True, blank=True, help_text="in the lane now; empty is as set, 0 is unlimited"
    )
    most_overnight = models.PositiveIntegerField(
        "Open requests at once, overnight", null=True, blank=True, help_text="empty is as set, 0 is unlimited"
    )
    checkpoints = models.JSONField(
        "Checkpoints", default=list, blank=True, help_text="names of those that may be used; none chosen is all"
    )
    LIMITS = ("seconds_a_day", "overnight_seconds_a_day", "most_queued", "most_overnight", "checkpoints")

    class Meta:
        abstract = True


class Quota(QuotaLimits):
    """Of one person. Its row is locked while a request of theirs is accepted, so that two at once cannot both fit."""

    user = models.OneToOneField(User, models.CASCADE, related_name="quota")

    class Meta:
        ordering = ("user__email",)
        verbose_name = "quota of a person"
        verbose_name_plural = "quotas of people"

    def __str__(self) -> str:
        return f"Quota of {self.user}"


class AuditEvent(UuidModel):
    """One line of the audit trail: who did what to whose thing. Never changed, never deleted."""

    actor = models.ForeignKey(User, models.PROTECT, related_name="audit_done", null=True)
    owner = models.ForeignKey(User, models.PROTECT, related_name="audit_about", null=True)
    verb = models.CharField(max_length=60)
    target_kind = models.CharField(max_length=40)
    target_id = models.CharField(max_length=64)
    detail = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.verb} {self.target_kind} {self.target_id}"

    @property
    def words(self) -> str:
        """What was done, for people."""
        return deed(self.verb, self.target_kind)
