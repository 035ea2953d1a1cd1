"""What people read when the portal cannot do its work: a full disk, a database that does not answer, too long a form.

Django hands to these two every exception that nobody caught, whichever floor raised it. A middleware would not do: it
never sees what breaks while the CSRF check reads a form, and there a full disk shows first.
"""

import sys

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import defaults
from django_htmx.http import reswap, trigger_client_event

from core.outage import is_busy, is_cache_away, is_full

DISK_FULL = "The disk of the portal is full, so this could not be kept. Tell an operator."
BUSY = "The database of the portal does not answer right now, so nothing was changed. Try again in a moment."
TOO_LONG = "That is more text than the portal takes at once. Shorten it and send it again."


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500. Django calls it while it handles the exception, and has written that down."""
    sentence = sentence_of(sys.exc_info()[1])
    return defaults.server_error(request) if sentence is None else _answer(request, sentence, 503)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400."""
    if isinstance(exception, RequestDataTooBig):
        return _answer(request, TOO_LONG, 413)
    return defaults.bad_request(request, exception)


def sentence_of(error: BaseException | None) -> str | None:
    """Words for what is nobody's mistake; None for all that is ours."""
    if is_full(error):
        return DISK_FULL
    return BUSY if is_busy(error) or is_cache_away(error) else None


def _answer(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    """A toast for htmx, which leaves the page and what was typed there as it is; else a page that needs no database."""
    if "HX-Request" in request.headers:
        answer = reswap(HttpResponse(status=status), "none")
        return trigger_client_event(answer, "toast", {"message": sentence, "level": "error"})
    return render(None, "errors/trouble.html", {"sentence": sentence, "status": status}, status=status)
