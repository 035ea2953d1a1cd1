"""allauth's rules here: people are made by operators, so there is no open registration."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from accounts.models import User


class ClosedDoorAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Keeps the sign-up page shut; a password that a person chose is no longer a one-time password."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def set_password(self, user: User, password: str) -> None:
        """Called when the person changes it."""
        user.must_change_password = False
        super().set_password(user, password)
