"""What happens to a request: made, looked at, canceled, tried again. Only by its owner; a stranger gets 404."""

import uuid
from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import reswap, retarget, trigger_client_event

from core.errors import TesseraError
from generation.forms import StudioForm
from generation.models import GenerationRequest
from generation.services.order import request_to_front
from generation.services.quotas import person_today
from generation.services.requests import request_cancel, request_retry
from generation.views import PersonRequest
from generation.views.cards import Card, card_of, cards, with_pictures
from generation.views.studio import studio_page
from generation.waits import Wait

INVALID = 422
PAGES = frozenset({"studio", "history"})  # to which one may come back


@require_POST
@login_required
def create(request: PersonRequest) -> HttpResponse:
    """Take a wish into the queue. The form of the page keeps what was typed, also when it is refused."""
    form = StudioForm(request.POST, request.FILES, user=request.user)
    made = form.submit()
    if not request.htmx:
        return redirect("studio") if made else studio_page(request, form, INVALID)
    if made is None:
        answer = render(request, "generation/_form_errors.html", {"form": form}, status=INVALID)
        return reswap(answer, "none")
    card = _card(request, made.pk, made.told or None)
    context = {"form": form, "card": card, "today": person_today(user=request.user)}
    return render(request, "generation/_request_made.html", context)


@require_safe
@login_required
def card(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """One card, as it is now."""
    return render(request, "generation/_request_card.html", {"card": _card(request, pk)})


@require_POST
@login_required
def cancel(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Stop it. What is drawn right now stops within a step and tells so by the socket."""
    wish = get_object_or_404(GenerationRequest.objects.visible_to(request.user), pk=pk)
    request_cancel(request=wish)
    if not request.htmx:
        return redirect("studio")
    if not wish.is_final:
        return HttpResponse(status=204)
    answer = render(request, "generation/_request_card.html", {"card": _card(request, pk)})
    return reswap(retarget(answer, f"#request-{pk}"), "outerHTML")


@require_POST
@login_required
def front(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Before all others of mine that wait in its lane."""
    wish = get_object_or_404(GenerationRequest.objects.visible_to(request.user), pk=pk)
    try:
        request_to_front(request=wish)
    except TesseraError as error:
        return _refused(request, error)
    if not request.htmx:
        return redirect(back) if (back := request.POST.get("back")) in PAGES else redirect("studio")
    mine = with_pictures(GenerationRequest.objects.visible_to(request.user)).queued().filter(lane=wish.lane)
    return render(request, "generation/_request_cards.html", {"cards": cards(mine, request.user)})


@require_POST
@login_required
def retry(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """A new request with the same wish."""
    wish = get_object_or_404(GenerationRequest.objects.visible_to(request.user), pk=pk)
    try:
        made = request_retry(request=wish, user=request.user)
    except TesseraError as error:
        return _refused(request, error)
    if not request.htmx:
        return redirect("studio")
    return render(request, "generation/_request_card.html", {"card": _card(request, made.pk, made.told or None)})


def _card(request: PersonRequest, pk: uuid.UUID, places: Mapping[uuid.UUID, Wait] | None = None) -> Card:
    return card_of(GenerationRequest.objects.visible_to(request.user), pk, request.user, places)


def _refused(request: PersonRequest, error: TesseraError) -> HttpResponse:
    if not request.htmx:
        messages.error(request, str(error))
        return redirect("history")
    answer = reswap(HttpResponse(status=INVALID), "none")
    return trigger_client_event(answer, "toast", {"message": str(error), "level": "error"})
