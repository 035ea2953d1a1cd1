"""The live memory ledger on a device's page: looked at every few seconds, with what an operator may do about it.

It names checkpoints and bytes, never prompts or people.
"""

import uuid
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache

from accounts.current import person
from generation.admin.ledger_page import ledger_page
from generation.models import Checkpoint, Device, DeviceCommand
from generation.services.checkpoints import checkpoint_set_keep_warm
from generation.services.devices import command_request

STOP_POLLING = 286  # htmx swaps the answer in, and asks no more
BETWEEN = "The worker does it between two requests."


class LedgerMixin:
    """Adds the panel, its polled fragment and its buttons to the admin of devices."""

    model: ClassVar[type[Model]]
    admin_site: Any
    change_form_outer_before_template = "admin/generation/ledger.html"

    def get_urls(self) -> list[URLPattern]:
        """The fragment, and what its buttons ask for."""
        own = [
            path("<uuid:pk>/ledger/", never_cache(self.ledger), name="generation_device_ledger"),
            path("<uuid:pk>/ledger/do/", self.admin_site.admin_view(self.act), name="generation_device_act"),
        ]
        return own + super().get_urls()  # type: ignore[misc, no-any-return]

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """With the ledger as it is now."""
        device = Device.objects.filter(pk=object_id).first() if request.method == "GET" and object_id else None
        context = {**(extra_context or {}), **({"ledger": ledger_page(device), "device": device} if device else {})}
        return super().changeform_view(request, object_id, form_url, context)  # type: ignore[misc]

    def ledger(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """The fragment. Who may not look any more is told once instead of asked to log in every few seconds."""
        if not (self.admin_site.has_permission(request) and self._may_look(request)):
            status = STOP_POLLING if request.headers.get("HX-Request") == "true" else 403
            return render(request, "admin/generation/_ledger_closed.html", status=status)
        device = _device(pk)
        context = {"ledger": ledger_page(device), "device": device, "has_change_permission": self._may_act(request)}
        return render(request, "admin/generation/_ledger.html", context)

    def _may_look(self, request: HttpRequest) -> bool:
        return bool(self.has_view_permission(request))  # type: ignore[attr-defined]

    def _may_act(self, request: HttpRequest) -> bool:
        return bool(self.has_change_permission(request))  # type: ignore[attr-defined]

    def act(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """Unload, replace the room, keep one warm or let it go."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self._may_act(request):
            raise PermissionDenied
        device = _device(pk)
        if name := request.POST.get("keep_warm") or request.POST.get("let_go"):
            self._keep(request, name, keep_warm="keep_warm" in request.POST)
        else:
            kind = request.POST.get("command")
            if kind not in DeviceCommand.Kind.values:
                raise Http404
            command_request(device=device, kind=kind, user=person(request))
            messages.success(request, f"Asked for: {DeviceCommand.Kind(kind).label.lower()}. {BETWEEN}")
        return redirect("admin:generation_device_change", device.pk)

    def _keep(self, request: HttpRequest, name: str, *, keep_warm: bool) -> None:
        checkpoint = Checkpoint.objects.filter(name=name).first()
        if checkpoint is None:
            raise Http404
        checkpoint_set_keep_warm(checkpoint=checkpoint, keep_warm=keep_warm, user=person(request))
        words = "is kept warm from now on" if keep_warm else "may be let go when nobody uses it"
        messages.success(request, f"{checkpoint} {words}. {BETWEEN}")


def _device(pk: uuid.UUID) -> Device:
    device = Device.objects.filter(pk=pk).first()
    if device is None:
        raise Http404
    return device
