"""Not built yet."""

from django.http import Http404, HttpRequest, HttpResponse


def history(request: HttpRequest, **kwargs: object) -> HttpResponse:
    """Not built yet."""
    raise Http404
