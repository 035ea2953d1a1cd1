"""Projects for operators: names, members, how many pictures. Not what is on them."""

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from generation.admin.rules import WatchedAdmin
from generation.models import Membership, Project


class MembershipInline(TabularInline):  # type: ignore[misc]
    """Read only: managers of the project say who is in."""

    model = Membership
    extra = 0
    fields = readonly_fields = ("user", "role", "created_at")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody here."""
        return False


@admin.register(Project)
class ProjectAdmin(WatchedAdmin):
    """Who has how much."""

    list_display = ("name", "kind", "owner", "pictures", "created_at")
    list_filter = ("kind",)
    search_fields = ("name", "owner__email")
    list_select_related = ("owner",)
    inlines = (MembershipInline,)
    fieldsets = ((None, {"fields": ("id", "name", "kind", "owner", "pictures", "created_at")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        """With the number of pictures."""
        return super().get_queryset(request).annotate(picture_count=Count("images"))  # type: ignore[no-any-return]

    @display(description="Pictures", ordering="picture_count")
    def pictures(self, project: Project) -> int:
        """The trash included."""
        return int(project.picture_count)  # type: ignore[attr-defined]
