"""Who asks: the logged-in person behind a request, typed."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.models import User


def person(request: HttpRequest) -> User:
    """The logged-in person. Raises PermissionDenied for nobody, so a forgotten login_required opens no door."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
