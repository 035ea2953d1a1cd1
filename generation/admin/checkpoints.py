"""Checkpoints for operators: names, what they can do, on or off. Added by `manage.py add_checkpoint`."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from accounts.current import person
from accounts.services import audit_record
from generation.admin.ledger_page import amount
from generation.engines.plan import Plan
from generation.models import Checkpoint, Device, DeviceCommand
from generation.services.checkpoints import (
    CheckpointRefusedError,
    checkpoint_disable,
    checkpoint_enable,
    checkpoint_rename,
    checkpoint_set_keep_warm,
    checkpoint_set_precision,
    checkpoint_types,
)
from generation.services.devices import command_request
from generation.services.footprints import footprint_forget, footprint_known

FACTS = (
    "name",
    "family",
    "path",
    "capability_words",
    "size_words",
    "megabytes",
    "number_types",
    "licence_words",
    "sum_words",
    "seconds_per_picture",
    "memory_foretold",
    "memory_learnt",
    "created_at",
)


@admin.register(Checkpoint)
class CheckpointAdmin(ModelAdmin):  # type: ignore[misc]
    """Title and description can be changed; facts are read from the folder."""

    list_display = (
        "title",
        "name",
        "family",
        "capability_words",
        "size_words",
        "megabytes",
        "enabled",
        "keep_warm",
        "disabled_reason",
    )
    list_filter = ("enabled", "family")
    search_fields = ("name", "title")
    actions = ("enable_selected", "disable_selected", "forget_selected")
    readonly_fields = (*FACTS, "enabled", "disabled_reason", "is_starter")
    fieldsets = (
        (None, {"fields": ("title", "description", "precision", "keep_warm")}),
        ("State", {"fields": ("enabled", "disabled_reason", "is_starter")}),
        ("Facts", {"fields": FACTS}),
    )

    @display(description="Can")
    def capability_words(self, checkpoint: Checkpoint) -> str:
        """In words."""
        return ", ".join(str(name).replace("_", " ") for name in checkpoint.capabilities)

    @display(description="Sizes")
    def size_words(self, checkpoint: Checkpoint) -> str:
        """That it can draw."""
        return ", ".join(checkpoint.size_labels())

    @display(description="MB", ordering="size_bytes")
    def megabytes(self, checkpoint: Checkpoint) -> float:
        """Of the weights."""
        return round(checkpoint.size_bytes / 1e6, 1)

    @display(description="Numbers in its files")
    def number_types(self, checkpoint: Checkpoint) -> str:
        """Of each part, as its headers say now."""
        try:
            parts = checkpoint_types(checkpoint=checkpoint)
        except CheckpointRefusedError as error:
            return str(error)
        return "; ".join(f"{part}: {_megabytes(types)}" for part, types in parts.items())

    @display(description="Memory, foretold")
    def memory_foretold(self, checkpoint: Checkpoint) -> str:
        """For its sizes, drawn the usual way."""
        footprint = footprint_known(checkpoint=checkpoint)
        if footprint is None:
            return "not known: its files cannot be read"
        precision = "fp32" if checkpoint.precision == "auto" else checkpoint.precision
        plan, bare = Plan(precision), footprint.with_learnt({})
        sizes = [
            f"{amount(bare.need(plan, width, height, device=''))} for {width}x{height}"
            for width, height in checkpoint.sizes
        ]
        return f"{precision}: {'; '.join(sizes) or amount(bare.weights(plan)) + ' of weights'}"

    @display(description="Memory, learnt")
    def memory_learnt(self, checkpoint: Checkpoint) -> str:
        """The highest that was measured of each way to draw."""
        learnt = checkpoint.footprint.get("learnt", {})
        return "; ".join(f"{key.replace('/', ', ')}: {amount(need)}" for key, need in learnt.items()) or "nothing yet"

    @display(description="Licence")
    def licence_words(self, checkpoint: Checkpoint) -> str:
        """As stated in its folder."""
        return checkpoint.licence or "not stated"

    @display(description="Sum of its files (sha256)")
    def sum_words(self, checkpoint: Checkpoint) -> str:
        """The beginning; enough to compare by eye."""
        return f"{checkpoint.sha256[:16]} ..." if checkpoint.sha256 else "not taken: add the checkpoint again"

    def save_model(self, request: HttpRequest, obj: Checkpoint, form: Any, change: bool) -> None:
        """Through the services."""
        checkpoint_rename(checkpoint=obj, title=obj.title, description=obj.description)
        if "precision" in form.changed_data:
            checkpoint_set_precision(checkpoint=obj, precision=obj.precision)
            self._record(request, obj, "checkpoint.precision")
        if "keep_warm" in form.changed_data:
            checkpoint_set_keep_warm(checkpoint=obj, keep_warm=obj.keep_warm, user=person(request))

    @action(description="Enable", permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[Checkpoint]) -> None:
        """Offer them in the studio again, if their folders can be used."""
        for checkpoint in queryset:
            try:
                with transaction.atomic():
                    checkpoint_enable(checkpoint=checkpoint)
                    self._record(request, checkpoint, "checkpoint.enable")
            except CheckpointRefusedError as error:
                messages.error(request, f"{checkpoint} stays as it is: {error}")

    @action(description="Disable", permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[Checkpoint]) -> None:
        """Offer them no longer; what waits for them fails with the reason."""
        for checkpoint in queryset:
            with transaction.atomic():
                checkpoint_disable(checkpoint=checkpoint, reason=f"Disabled by {request.user}.")
                self._record(request, checkpoint, "checkpoint.disable")

    @action(description="Forget what was learnt of their memory", permissions=["change"])
    def forget_selected(self, request: HttpRequest, queryset: QuerySet[Checkpoint]) -> None:
        """It is foretold again, and learnt anew."""
        for checkpoint in queryset:
            footprint_forget(checkpoint=checkpoint)
            self._record(request, checkpoint, "checkpoint.forget_memory")
        for device in Device.objects.all():
            command_request(device=device, kind=DeviceCommand.Kind.RESTART, user=person(request))
        messages.success(request, "Forgotten. The engine room is replaced between two requests, so that it forgets.")

    def _record(self, request: HttpRequest, checkpoint: Checkpoint, verb: str) -> None:
        audit_record(
            actor=person(request),
            owner=None,
            verb=verb,
            target_kind="checkpoint",
            target_id=checkpoint.pk,
            detail=checkpoint.title,
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only by `manage.py add_checkpoint`, which inspects the folder."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Checkpoint | None = None) -> bool:
        """Disabled instead: pictures name it."""
        return False


def _megabytes(types: dict[str, int]) -> str:
    return ", ".join(f"{size / 1e6:.1f} MB {name}" for name, size in types.items())
