"""People and the audit trail. Rows are changed by accounts.services only."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models

from core.models import UuidModel


class UserManager(BaseUserManager["User"]):
    """Makes people by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """A person who can log in."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
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

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.name or self.email


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
