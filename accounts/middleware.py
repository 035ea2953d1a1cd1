"""A person with a password that somebody else made chooses an own one before anything else."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

OPEN = ("/static/", "/healthz", "/readyz")


def own_password_first(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Redirects to the password page until the one-time password is replaced."""

    def middleware(request: HttpRequest) -> HttpResponse:
        user = request.user
        if user.is_authenticated and user.must_change_password and not _is_open(request.path):
            return redirect("account_change_password")
        return get_response(request)

    return middleware


def _is_open(path: str) -> bool:
    return path.startswith(OPEN) or path in {reverse("account_change_password"), reverse("account_logout")}
