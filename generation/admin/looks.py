"""An operator's look at something private: asked for on a page of its own, written down before anything is shown."""

import uuid
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from accounts.current import person
from accounts.services import look_record
from generation import storage
from generation.models import Image


class LookMixin:
    """Adds a look page to a ModelAdmin whose rows have an owner, a prompt, and are or have pictures or an answer."""

    model: ClassVar[type[Model]]
    admin_site: Any

    def get_urls(self) -> list[URLPattern]:
        """The look page and its pictures."""
        name = self._look_name()
        own = [
            path("<uuid:pk>/look/", self.admin_site.admin_view(self.look), name=name),
            path(
                "<uuid:pk>/look/<uuid:image>.png", self.admin_site.admin_view(self.look_picture), name=f"{name}_picture"
            ),
        ]
        return own + super().get_urls()  # type: ignore[misc, no-any-return]

    def _look_name(self) -> str:
        return f"generation_{self.model._meta.model_name}_look"

    @display(description="Prompt and results")
    def look_link(self, row: Model) -> str:
        """Leads to the page that asks first."""
        url = reverse(f"admin:{self._look_name()}", args=[row.pk])
        return format_html('<a class="text-primary-600 underline" href="{}">Private. Look …</a>', url)

    def look(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """GET asks for a reason; POST writes the line that the owner can read, and then shows."""
        row = self._row(request, pk)
        reason = request.POST.get("reason", "").strip()
        shown = request.method == "POST" and bool(reason)
        if shown:
            self._record(request, row, reason)
        context = {
            **self.admin_site.each_context(request),
            "title": "Look at something private",
            "row": row,
            "shown": shown,
            "asked": request.method == "POST" and not reason,
            "pictures": self._pictures(row) if shown else [],
            "picture_name": f"admin:{self._look_name()}_picture",
        }
        return TemplateResponse(request, "admin/generation/look.html", context)

    def look_picture(self, request: HttpRequest, pk: uuid.UUID, image: uuid.UUID) -> HttpResponse:
        """The bytes. Whoever comes here directly is written down just the same."""
        row = self._row(request, pk)
        picture = next((found for found in self._pictures(row) if found.pk == image), None)
        if picture is None:
            raise Http404
        self._record(request, row, None)
        try:
            data = storage.read(picture.file)
        except FileNotFoundError as error:
            raise Http404 from error
        return HttpResponse(data, content_type="image/png", headers={"Cache-Control": "private, no-store"})

    def _row(self, request: HttpRequest, pk: uuid.UUID) -> Any:
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        row = self.model._default_manager.filter(pk=pk).first()
        if row is None:
            raise Http404
        return row

    def _record(self, request: HttpRequest, row: Any, reason: str | None) -> None:
        kind = self.model._meta.verbose_name
        look_record(actor=person(request), owner=row.owner, target_kind=str(kind), target_id=row.pk, reason=reason)

    def _pictures(self, row: Any) -> list[Image]:
        return [row] if isinstance(row, Image) else list(row.images.all())
