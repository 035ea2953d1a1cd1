"""What our admin pages have in common: rows that no operator makes, writes or deletes by hand."""

from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

# The lookups that Django's own filters put into the address.
FILTER_LOOKUPS = ("", "__exact", "__id__exact", "__isnull", "__isempty")


class WatchedAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows that operators watch and act on, but never write: services do."""

    actions_on_top = True
    saves = False  # whether the page of one row has anything that can be saved
    list_per_page = 50

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the page offers: any other question (does a prompt start with ...) is a look without a line."""
        offered = (item if isinstance(item, str) else item[0] for item in self.get_list_filter(request))
        return lookup in {"id", "id__exact"} | {name + ending for name in offered for ending in FILTER_LOOKUPS}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        """All of them."""
        return [name for _, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        """Nothing: a row read a moment ago must not be written over what a worker has done since."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing."""

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> None:
        """Nothing was changed."""

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Without save buttons where nothing can be saved."""
        shown = {} if self.saves else {"show_save": False, "show_save_and_continue": False}
        context = {**(extra_context or {}), **shown}
        return super().changeform_view(request, object_id, form_url, context)
