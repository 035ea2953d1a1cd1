"""Pictures for operators: whose, how large, in the trash or not. To see one, an operator has to look."""

from django.contrib import admin
from unfold.decorators import display

from generation.admin.ledger_page import drawn_words
from generation.admin.looks import LookMixin
from generation.admin.rules import WatchedAdmin
from generation.models import Image


@admin.register(Image)
class ImageAdmin(LookMixin, WatchedAdmin):
    """No thumbnails and no prompts in lists."""

    list_display = (
        "created_at",
        "owner",
        "project",
        "checkpoint_name",
        "size",
        "drawn_with",
        "kilobytes",
        "trashed_at",
    )
    list_filter = ("checkpoint_name", ("trashed_at", admin.EmptyFieldListFilter))
    search_fields = ("id", "owner__email", "project__name")
    list_select_related = ("owner", "project")
    fieldsets = (
        (None, {"fields": ("id", "owner", "project", "request", "index", "look_link")}),
        ("Figures", {"fields": ("checkpoint_name", "size", "drawn_with", "seed", "kilobytes", "sha256")}),
        ("Times", {"fields": ("created_at", "trashed_at")}),
    )

    @display(description="Size")
    def size(self, image: Image) -> str:
        """In pixels."""
        return f"{image.width} x {image.height}"

    @display(description="Drawn with")
    def drawn_with(self, image: Image) -> str:
        """Its numbers, and how memory was spared."""
        return drawn_words(image.recipe)

    @display(description="KB", ordering="size_bytes")
    def kilobytes(self, image: Image) -> int:
        """Of the file."""
        return round(image.size_bytes / 1000)
