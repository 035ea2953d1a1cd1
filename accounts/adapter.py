"""allauth's rules here: people are made by operators, so there is no open registration."""

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.shortcuts import resolve_url

from accounts.models import User


class ClosedDoorAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Keeps the sign-up page shut; a password that a person chose is no longer a one-time password."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def clean_password(self, password: str, user: User | None = None) -> str:
        """As strong as Django asks; and not the one-time password again, which somebody else knows."""
        cleaned = str(super().clean_password(password, user=user))
        if user is not None and user.must_change_password and user.check_password(cleaned):
            raise ValidationError("This is the one-time password that you were given. Choose another one.")
        return cleaned

    def set_password(self, user: User, password: str) -> None:
        """Called when the person changes it."""
        user.must_change_password = False
        super().set_password(user, password)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Where a login leads to, and not to the form that was just filled in."""
        return str(resolve_url(settings.LOGIN_REDIRECT_URL))
