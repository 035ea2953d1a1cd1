"""Devices for operators: what is resident, memory, what it draws; pause, unload, restart."""

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince
from unfold.decorators import action, display

from accounts.current import person
from generation.admin.rules import WatchedAdmin
from generation.models import Device, DeviceCommand
from generation.services.devices import command_request, device_pause, device_resume


@admin.register(Device)
class DeviceAdmin(WatchedAdmin):
    """Written by the worker's heartbeat; operators ask, the worker does."""

    list_display = ("name", "kind", "alive", "paused", "resident_words", "memory", "drawing", "room_pid")
    actions = ("pause_selected", "resume_selected", "unload_selected", "restart_selected")
    fieldsets = (
        (None, {"fields": ("name", "kind", "heartbeat_words", "heartbeat_at", "paused")}),
        ("Engine room", {"fields": ("room_pid", "worker_pid", "resident_words", "memory", "drawing", "last_error")}),
    )

    @display(description="Heartbeat", label={"alive": "success", "silent": "danger", "never": ""})
    def alive(self, device: Device) -> tuple[str, str]:
        """In colour, for the list."""
        return _alive(device)

    @display(description="Heartbeat")
    def heartbeat_words(self, device: Device) -> str:
        """The page of one device shows no coloured labels."""
        return _alive(device)[1]

    @display(description="Resident")
    def resident_words(self, device: Device) -> str:
        """Checkpoints that are loaded now."""
        return ", ".join(f"{item['name']} ({item['bytes'] / 1e6:.0f} MB)" for item in device.resident) or "nothing"

    @display(description="Memory")
    def memory(self, device: Device) -> str:
        """Used of total."""
        return f"{device.memory_used / 1e9:.2f} of {device.memory_total / 1e9:.1f} GB"

    @action(description="Pause: draw nothing new", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """What is being drawn is finished."""
        for device in queryset:
            device_pause(device=device, user=person(request))
        messages.success(request, "Paused. What is being drawn is finished; the queue waits.")

    @action(description="Resume", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Draw again."""
        for device in queryset:
            device_resume(device=device, user=person(request))
        messages.success(request, "Resumed.")

    @action(description="Unload checkpoints", permissions=["change"])
    def unload_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Between two requests."""
        self._command(request, queryset, DeviceCommand.Kind.UNLOAD)

    @action(description="Restart the engine room", permissions=["change"])
    def restart_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Between two requests."""
        self._command(request, queryset, DeviceCommand.Kind.RESTART)

    def _command(self, request: HttpRequest, queryset: QuerySet[Device], kind: DeviceCommand.Kind) -> None:
        for device in queryset:
            command_request(device=device, kind=kind, user=person(request))
        messages.success(request, f"Asked for: {kind.label.lower()}. The worker does it between two requests.")


def _alive(device: Device) -> tuple[str, str]:
    """Fresh, or since when it is silent."""
    if device.heartbeat_at is None:
        return "never", "never seen"
    age = (timezone.now() - device.heartbeat_at).total_seconds()
    if age > settings.HEARTBEAT_SECONDS * 5:
        return "silent", f"silent for {timesince(device.heartbeat_at)}"
    return "alive", f"{age:.0f} s ago"
