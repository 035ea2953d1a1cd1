"""Requests for operators: states and figures, cancel and retry. Prompts stay private until somebody looks."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.timesince import timesince
from unfold.decorators import action, display

from accounts.current import person
from core.errors import TesseraError
from generation.admin.ledger_page import drawn_words
from generation.admin.looks import LookMixin
from generation.admin.rules import WatchedAdmin
from generation.models import GenerationRequest
from generation.services.order import request_demote, request_promote
from generation.services.requests import request_cancel_for, request_retry_for
from generation.waits import promises_held

State = GenerationRequest.State
KINDS = {
    "text_to_image": "Words to picture",
    "image_to_image": "Picture to picture",
    "edit": "Edit",
    "describe": "Description",
}
COLOURS = {
    State.QUEUED: "info",
    State.LOADING: "warning",
    State.RUNNING: "warning",
    State.SAVING: "warning",
    State.COMPLETED: "success",
    State.FAILED: "danger",
    State.CANCELED: "",
}


@admin.register(GenerationRequest)
class RequestAdmin(LookMixin, WatchedAdmin):
    """The queue and its past."""

    list_display = (
        "created_at",
        "state_label",
        "owner",
        "lane_words",
        "checkpoint",
        "kind",
        "pictures",
        "took",
        "drawn_with",
        "error_code",
    )
    list_filter = ("state", "lane", "capability", "checkpoint", "error_code")
    search_fields = ("id", "owner__email")
    list_select_related = ("owner", "checkpoint")
    actions = ("promote_selected", "demote_selected", "cancel_selected", "retry_selected")
    fieldsets = (
        (None, {"fields": ("id", "state", "owner", "project", "checkpoint", "kind", "look_link")}),
        ("Figures", {"fields": ("size", "pictures", "attempt", "device", "drawn_with", "step", "steps", "figures")}),
        (
            "Queue",
            {
                "fields": (
                    "lane",
                    "sort_at",
                    "promoted_at",
                    "predicted_seconds",
                    "device_seconds",
                    "promised_p50_at",
                    "promised_p90_at",
                )
            },
        ),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "took", "cancel_requested_at")}),
        ("Lease", {"fields": ("lease_token", "lease_until")}),
        ("Failure", {"fields": ("error_code", "error_message", "error_hint")}),
    )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the share of promises that held above the list."""
        held, told = promises_held()
        if told and request.method == "GET":
            newest = "1 request was" if told == 1 else f"{told} requests were"
            messages.info(request, f"{held} of the newest {newest} done within the time they were told.")
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    @display(description="State", label=COLOURS, ordering="state")
    def state_label(self, request: GenerationRequest) -> tuple[str, str]:
        """In colour."""
        return request.state, request.get_state_display()

    @display(description="Lane", ordering="lane")
    def lane_words(self, request: GenerationRequest) -> str:
        """And whether an operator put it before everybody, while that means something."""
        first = request.promoted_at is not None and request.state == State.QUEUED
        return f"{request.get_lane_display()}, put first" if first else request.get_lane_display()

    @display(description="Kind", ordering="capability")
    def kind(self, request: GenerationRequest) -> str:
        """In words."""
        return KINDS.get(request.capability, request.capability)

    @display(description="Pictures")
    def pictures(self, request: GenerationRequest) -> int:
        """Asked for."""
        return 0 if request.capability == "describe" else int(request.param("count", 1))

    @display(description="Size")
    def size(self, request: GenerationRequest) -> str:
        """In pixels."""
        if request.capability == "describe":
            return ""
        return f"{request.param('width')} x {request.param('height')}"

    @display(description="Took")
    def took(self, request: GenerationRequest) -> str:
        """From claim to end, or since when it is drawn or waits."""
        if request.started_at and request.finished_at:
            return f"{(request.finished_at - request.started_at).total_seconds():.1f} s"
        if request.is_final:
            return ""
        if request.state == GenerationRequest.State.QUEUED or request.started_at is None:
            return f"waits for {timesince(request.created_at)}"
        return f"drawn for {timesince(request.started_at)}"

    @display(description="Drawn with")
    def drawn_with(self, request: GenerationRequest) -> str:
        """Its numbers, and how memory was spared; empty before it is drawn."""
        return drawn_words(request.figures)

    @action(description="Put first: before everybody", permissions=["change"])
    def promote_selected(self, request: HttpRequest, queryset: QuerySet[GenerationRequest]) -> None:
        """Only what waits; the oldest of several first. It is written down."""
        by = person(request)
        self._each(
            request, queryset.order_by("created_at"), "put first", lambda row: request_promote(request=row, operator=by)
        )

    @action(description="Put back: wait its turn again", permissions=["change"])
    def demote_selected(self, request: HttpRequest, queryset: QuerySet[GenerationRequest]) -> None:
        """Only what waits and was put first. It is written down."""
        by = person(request)
        self._each(request, queryset, "put back", lambda row: request_demote(request=row, operator=by))

    @action(description="Cancel", permissions=["change"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[GenerationRequest]) -> None:
        """In every state; final ones stay as they are."""
        by = person(request)
        self._each(request, queryset, "canceled", lambda row: request_cancel_for(request=row, operator=by))

    @action(description="Retry as a new request of the same person", permissions=["change"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[GenerationRequest]) -> None:
        """The old one keeps its record."""
        by = person(request)
        self._each(request, queryset, "queued again", lambda row: request_retry_for(request=row, operator=by))

    def _each(self, request: HttpRequest, queryset: QuerySet[GenerationRequest], done: str, act: Any) -> None:
        count = 0
        for row in queryset:
            try:
                act(row)
                count += 1
            except TesseraError as error:
                messages.error(request, f"{row.pk}: {error}")
        if count:
            messages.success(request, f"{count} {done}.")
