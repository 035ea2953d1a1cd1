"""Quotas for operators: how much a person or a project may ask for. Changes go through accounts.services."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.current import person
from accounts.models import Quota, QuotaLimits
from accounts.services import quota_save
from generation.amounts import seconds_words
from generation.models import Checkpoint, GenerationRequest, ProjectQuota
from generation.services.quotas import person_limits, project_limits

Lane = GenerationRequest.Lane
NUMBERS = ("seconds_a_day", "most_queued", "overnight_seconds_a_day", "most_overnight")


class QuotaForm(forms.ModelForm):  # type: ignore[type-arg]
    """Numbers, and checkpoints by their titles."""

    checkpoints = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Those that may be used. None chosen: all of them.",
    )

    def __init__(self, *rest: Any, **named: Any) -> None:
        super().__init__(*rest, **named)
        known = list(Checkpoint.objects.values_list("name", "title"))
        gone = set(self.instance.checkpoints) - {name for name, _ in known}
        field = self.fields["checkpoints"]
        field.choices = [*known, *((name, f"{name} (gone)") for name in sorted(gone))]  # type: ignore[attr-defined]


class LimitsAdmin(ModelAdmin):  # type: ignore[misc]
    """What the two kinds of quotas have in common. An empty number shows what it is by the settings."""

    form = QuotaForm
    list_per_page = 50
    holder: ClassVar[str]
    settings: ClassVar[dict[str, str]]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Whose it is does not change."""
        return () if obj is None else (self.holder,)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The setting as a placeholder."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in NUMBERS:
            value = getattr(settings, self.settings.get(db_field.name, ""), 0)
            field.widget.attrs["placeholder"] = f"as set: {value or 'unlimited'}"
        return field

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody: emptied is the same, and the row is what is locked."""
        return False

    @display(description="Checkpoints")
    def checkpoint_words(self, quota: QuotaLimits) -> str:
        """Names, or all."""
        return ", ".join(map(str, quota.checkpoints)) or "all"


@admin.register(Quota)
class QuotaAdmin(LimitsAdmin):
    """Of people. Everybody who ever asked for a picture has a row."""

    holder = "user"
    settings: ClassVar[dict[str, str]] = {
        "seconds_a_day": "SECONDS_A_DAY",
        "most_queued": "MAX_QUEUED",
        "overnight_seconds_a_day": "OVERNIGHT_SECONDS_A_DAY",
        "most_overnight": "MAX_OVERNIGHT",
    }
    list_display = (
        "user",
        "seconds_words",
        "queued_words",
        "overnight_words",
        "overnight_queued_words",
        "checkpoint_words",
    )
    search_fields = ("user__email", "user__name")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    fieldsets = (
        (None, {"fields": ("user", "checkpoints")}),
        ("Now", {"fields": ("seconds_a_day", "most_queued")}),
        ("Overnight", {"fields": ("overnight_seconds_a_day", "most_overnight")}),
    )

    def save_model(self, request: HttpRequest, obj: Quota, form: Any, change: bool) -> None:
        """Through the service, which keeps the audit trail."""
        quota_save(quota=obj, owner=obj.user, kind="person", target_id=obj.user_id, by=person(request))

    @display(description="Seconds a day")
    def seconds_words(self, quota: Quota) -> str:
        """In the lane now."""
        return _seconds(person_limits(quota, Lane.NOW).seconds)

    @display(description="Open requests")
    def queued_words(self, quota: Quota) -> str:
        """In the lane now."""
        return _number(person_limits(quota, Lane.NOW).queued)

    @display(description="Seconds a day, overnight")
    def overnight_words(self, quota: Quota) -> str:
        """In the lane overnight."""
        return _seconds(person_limits(quota, Lane.OVERNIGHT).seconds)

    @display(description="Open requests, overnight")
    def overnight_queued_words(self, quota: Quota) -> str:
        """In the lane overnight."""
        return _number(person_limits(quota, Lane.OVERNIGHT).queued)


@admin.register(ProjectQuota)
class ProjectQuotaAdmin(LimitsAdmin):
    """Of projects, for all their members together."""

    holder = "project"
    settings: ClassVar[dict[str, str]] = {
        "seconds_a_day": "PROJECT_SECONDS_A_DAY",
        "most_queued": "PROJECT_MAX_QUEUED",
    }
    list_display = ("project", "owner", "seconds_words", "queued_words", "checkpoint_words")
    search_fields = ("project__name", "project__owner__email")
    list_select_related = ("project__owner",)
    autocomplete_fields = ("project",)
    fieldsets = (
        (None, {"fields": ("project", "checkpoints")}),
        ("Now", {"fields": ("seconds_a_day", "most_queued")}),
        ("Overnight", {"fields": ("overnight_seconds_a_day", "most_overnight")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProjectQuota]:
        """Personal projects have the limits of their person; rows of theirs are shown only when somebody set one."""
        rows = super().get_queryset(request)
        empty = dict.fromkeys((f"{name}__isnull" for name in NUMBERS), True)
        return rows.exclude(project__kind="personal", checkpoints=[], **empty)  # type: ignore[no-any-return]

    def save_model(self, request: HttpRequest, obj: ProjectQuota, form: Any, change: bool) -> None:
        """Through the service, which keeps the audit trail."""
        owner = obj.project.owner
        quota_save(quota=obj, owner=owner, kind="project", target_id=obj.project_id, by=person(request))

    @display(description="Owner")
    def owner(self, quota: ProjectQuota) -> str:
        """Of the project."""
        return str(quota.project.owner)

    @display(description="Seconds a day")
    def seconds_words(self, quota: ProjectQuota) -> str:
        """In the lane now."""
        return _seconds(project_limits(quota, quota.project, Lane.NOW).seconds)

    @display(description="Open requests")
    def queued_words(self, quota: ProjectQuota) -> str:
        """In the lane now."""
        return _number(project_limits(quota, quota.project, Lane.NOW).queued)


def _number(limit: int) -> str:
    return f"{limit:,}" if limit else "unlimited"


def _seconds(limit: int) -> str:
    return seconds_words(limit) if limit else "unlimited"
