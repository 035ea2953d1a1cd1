"""People and the audit trail for operators. Changes go through accounts.services."""

from typing import Any, ClassVar

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.current import person
from accounts.models import AuditEvent, User
from accounts.services import LAST_OPERATOR, locks_out, user_save

# One door with one set of rate limits: the admin sends people to the ordinary login page.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.unregister(Group)


class SmallAddressMixin:
    """An address that differs from another one only in case is the same address."""

    cleaned_data: dict[str, Any]
    instance: User

    def clean_email(self) -> str:
        """In small letters. Whether it is taken is asked here: the field and the constraint would both tell."""
        address = str(self.cleaned_data["email"]).lower()
        if User.objects.exclude(pk=self.instance.pk).filter(email=address).exists():
            raise ValidationError("Somebody here has this address already.")
        return address


class PersonForm(SmallAddressMixin, UserChangeForm):  # type: ignore[misc]
    """What operators change."""

    class Meta(UserChangeForm.Meta):  # type: ignore[misc]
        labels: ClassVar[dict[str, str]] = {"is_staff": "Operator"}
        help_texts: ClassVar[dict[str, str]] = {"is_staff": "Runs this portal: may do everything these pages offer."}

    @transaction.atomic
    def clean(self) -> dict[str, Any]:
        """Somebody must be able to open these pages tomorrow."""
        cleaned: dict[str, Any] = super().clean()
        rights = {name: bool(cleaned.get(name)) for name in ("is_staff", "is_active")}
        if locks_out(self.instance, **rights):
            self.add_error(next(name for name, right in rights.items() if not right), LAST_OPERATOR)
        return cleaned


class PersonCreationForm(SmallAddressMixin, UserCreationForm):  # type: ignore[misc]
    """Address, name, and a one-time password."""

    class Meta:
        model = User
        fields = ("email", "name")


class PersonPasswordForm(AdminPasswordChangeForm):  # type: ignore[misc]
    """A new password. Going without one is not offered: people are deactivated, and the last operator must get in."""

    def __init__(self, *rest: Any, **named: Any) -> None:
        super().__init__(*rest, **named)
        self.fields.pop("usable_password", None)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    """People. They are deactivated, not deleted: their pictures and audit lines stay whose they are."""

    form = PersonForm
    add_form = PersonCreationForm
    change_password_form = PersonPasswordForm
    list_display = ("email", "name", "is_active", "is_staff", "must_change_password", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("last_login", "created_at")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("May", {"fields": ("is_active", "is_staff", "must_change_password")}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    add_fieldsets = (
        (
            None,
            {
                "fields": ("email", "name", "password1", "password2"),
                "description": "The password works once: at the first login the person chooses an own one.",
            },
        ),
    )

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Through the service, which keeps the audit trail and closes the sockets of a deactivated person."""
        password_set = not change or "password" in form.changed_data
        user_save(user=obj, by=person(request), created=not change, password_set=password_set)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002 Django's name
        """Django's page saves by itself; what follows from a new password is the service's."""
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            user_save(user=User.objects.get(pk=id), by=person(request), created=False, password_set=True)
        return response

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody."""
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):  # type: ignore[misc]
    """Read only for everybody, for ever."""

    list_display = ("created_at", "actor", "verb", "target_kind", "target_id", "owner", "detail")
    list_filter = ("verb", "target_kind")
    search_fields = ("actor__email", "owner__email", "target_id", "detail")
    list_select_related = ("actor", "owner")
    date_hierarchy = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        """Nobody."""
        return False
