"""Devices for operators: what is resident, memory, what it draws; pause, unload, restart."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince
from unfold.decorators import action, display

from accounts.current import person
from core.errors import TesseraError
from generation.admin.ledgers import LedgerMixin
from generation.admin.rules import WatchedAdmin
from generation.limits import limit_of
from generation.models import Device, DeviceCommand, GenerationRequest
from generation.services.devices import (
    UNREADABLE,
    command_request,
    device_delete,
    device_drain,
    device_pause,
    device_resume,
    device_set_costs,
    device_set_limits,
)
from generation.software import key_mark, software_version

TAKING = {
    "takes": "success",
    "broken": "danger",
    "paused": "warning",
    "draining": "warning",
    "empty": "info",
    "away": "",
}
SETTINGS = {"watts": "WATTS", "price_per_hour": "PRICE_PER_DEVICE_HOUR"}


@admin.register(Device)
class DeviceAdmin(LedgerMixin, WatchedAdmin):
    """Written by the worker's heartbeat; operators ask, the worker does. Only the limits are theirs to write."""

    saves = True
    list_display = (
        "name",
        "host",
        "version_words",
        "kind",
        "alive",
        "taking",
        "resident_words",
        "memory",
        "recycles",
    )
    actions = (
        "pause_selected",
        "drain_selected",
        "resume_selected",
        "unload_selected",
        "restart_selected",
        "forget_selected",
    )
    fieldsets = (
        (None, {"fields": ("name", "kind", "host", "version_told", "heartbeat_words", "heartbeat_at", "taking_words")}),
        (
            "Engine room",
            {
                "fields": (
                    "room_pid",
                    "worker_pid",
                    "resident_words",
                    "present_words",
                    "memory",
                    "drawing",
                    "last_error",
                )
            },
        ),
        (
            "Costs",
            {
                "fields": Device.COSTS,
                "description": "For what is drawn from now on; empty leaves the setting. The price of a kWh is a "
                "setting: TESSERA_PRICE_PER_KWH.",
            },
        ),
        (
            "Limits",
            {
                "fields": Device.LIMITS,
                "description": "Empty leaves the setting. The worker follows between two requests; where memory is "
                "concerned it replaces the engine room.",
            },
        ),
    )

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("generation/ledger.css",)}

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """All but the limits and the costs."""
        return [name for name in super().get_readonly_fields(request, obj) if name not in Device.LIMITS + Device.COSTS]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """An empty limit shows what it is by the setting."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in Device.LIMITS:
            field.widget.attrs["placeholder"] = f"as set: {limit_of(None, db_field.name)}"
        if db_field.name in SETTINGS:
            field.widget.attrs["placeholder"] = f"as set: {getattr(settings, SETTINGS[db_field.name])}"
        return field

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Through the service, and only what was changed."""
        changed = {name: form.cleaned_data[name] for name in form.changed_data if name in Device.LIMITS}
        costs = {name: form.cleaned_data[name] for name in form.changed_data if name in Device.COSTS}
        if changed and isinstance(obj, Device):
            device_set_limits(device=obj, limits=changed, user=person(request))
        if costs and isinstance(obj, Device):
            device_set_costs(device=obj, costs=costs, user=person(request))

    @display(description="Heartbeat", label={"alive": "success", "silent": "danger", "never": ""})
    def alive(self, device: Device) -> tuple[str, str]:
        """In colour, for the list."""
        return _alive(device)

    @display(description="Heartbeat")
    def heartbeat_words(self, device: Device) -> str:
        """The page of one device shows no coloured labels."""
        return _alive(device)[1]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Device]:
        """With the number of requests that it draws."""
        drawn = Count("requests", filter=Q(requests__state__in=GenerationRequest.LEASED))
        return super().get_queryset(request).annotate(drawn=drawn)  # type: ignore[no-any-return]

    @display(description="Takes requests", label=TAKING)
    def taking(self, device: Device) -> tuple[str, str]:
        """In colour, for the list."""
        return _taking(device)

    @display(description="Takes requests")
    def taking_words(self, device: Device) -> str:
        """The page of one device shows no coloured labels."""
        return _taking(device)[1]

    @display(description="Version", label={"same": "", "other": "warning"})
    def version_words(self, device: Device) -> tuple[str, str]:
        """In colour where it is not that of this web process."""
        return _version(device)

    @display(description="Version")
    def version_told(self, device: Device) -> str:
        """The page of one device shows no coloured labels."""
        label, words = _version(device)
        return words if label == "same" else f"{words}; this page: {software_version()}"

    @display(description="Checkpoints there")
    def present_words(self, device: Device) -> str:
        """What lies on its machine, and what cannot be used."""
        if device.present is None:
            return "not told"
        return ", ".join(_present(name, sha256) for name, sha256 in sorted(device.present.items())) or "none"

    @display(description="Resident")
    def resident_words(self, device: Device) -> str:
        """Checkpoints that are loaded now."""
        return ", ".join(f"{item['name']} ({item['bytes'] / 1e6:.0f} MB)" for item in device.resident) or "nothing"

    @display(description="Memory")
    def memory(self, device: Device) -> str:
        """Used of total."""
        if not device.memory_total:
            return "not told"
        return f"{device.memory_used / 1e9:.2f} of {device.memory_total / 1e9:.1f} GB"

    @action(description="Pause: draw nothing new", permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """What is being drawn is finished."""
        for device in queryset:
            device_pause(device=device, user=person(request))
        messages.success(request, "Paused. What is being drawn is finished; the queue waits.")

    @action(description="Drain: finish what is drawn, then stay empty", permissions=["change"])
    def drain_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Before a machine is switched off or taken away; what waits is drawn by the others."""
        for device in queryset:
            device_drain(device=device, user=person(request))
        messages.success(request, "Draining. The list says when it is empty; Resume lets it draw again.")

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

    @action(description="Delete: it will never come back", permissions=["change"])
    def forget_selected(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Only those that are silent and have nothing in hand."""
        for device in queryset:
            try:
                device_delete(device=device, user=person(request))
            except TesseraError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{device.name} was deleted. A cluster of that name makes it anew.")

    def _command(self, request: HttpRequest, queryset: QuerySet[Device], kind: DeviceCommand.Kind) -> None:
        for device in queryset:
            command_request(device=device, kind=kind, user=person(request))
        messages.success(request, f"Asked for: {kind.label.lower()}. The worker does it between two requests.")


def _taking(device: Device) -> tuple[str, str]:
    """What it does with the queue."""
    drawn = int(getattr(device, "drawn", 0))
    if device.draining:
        return ("draining", f"draining: {drawn} left") if drawn else ("empty", "drained: empty")
    if device.paused:
        return "paused", f"paused: {drawn} left" if drawn else "paused"
    if device.last_error:
        return "broken", "no: its engine room does not open"
    if not device.is_alive():
        return "away", "no: it is silent" if device.heartbeat_at else "no: never seen"
    return "takes", "yes"


def _version(device: Device) -> tuple[str, str]:
    """Whether it is that of this web process, with the same secret key."""
    words = device.version or "not told"
    if device.key_mark not in {"", key_mark()}:
        return "other", f"{words}, another secret key"
    return "same" if device.version in {"", software_version()} else "other", words


def _present(name: str, sha256: str) -> str:
    if sha256 == UNREADABLE:
        return f"{name} (cannot be used)"
    return f"{name} ({sha256[:10] or 'sum not known'})"


def _alive(device: Device) -> tuple[str, str]:
    """Fresh, or since when it is silent."""
    if device.heartbeat_at is None:
        return "never", "never seen"
    age = max((timezone.now() - device.heartbeat_at).total_seconds(), 0.0)  # its clock may be a little ahead
    if age > settings.HEARTBEAT_SECONDS * 5:
        return "silent", f"silent for {timesince(device.heartbeat_at)}"
    return "alive", f"{age:.0f} s ago"
