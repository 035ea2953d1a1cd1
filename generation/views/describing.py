"""The action "Describe" of a picture that the person may see: of a gallery, or handed in by them."""

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from django_htmx.http import reswap, trigger_client_event

from core.errors import TesseraError
from generation.models import GenerationRequest, Image, Upload
from generation.services.describing import request_describe
from generation.views import PersonRequest
from generation.views.cards import card_of

INVALID = 422


@require_POST
@login_required
def image(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Of a picture in a gallery."""
    found = get_object_or_404(Image.objects.readable_by(request.user).kept(), pk=pk)
    return _describe(request, found)


@require_POST
@login_required
def upload(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Of a picture that was handed in."""
    return _describe(request, get_object_or_404(Upload.objects.filter(owner=request.user), pk=pk))


def _describe(request: PersonRequest, picture: Image | Upload) -> HttpResponse:
    """The card, for the studio; else to the studio, where the answer appears."""
    source_image = picture if isinstance(picture, Image) else None
    source_upload = picture if isinstance(picture, Upload) else None
    try:
        made = request_describe(user=request.user, source_image=source_image, source_upload=source_upload)
    except TesseraError as error:
        return _refused(request, str(error))
    if not request.htmx:
        return redirect("studio")
    card = card_of(GenerationRequest.objects.visible_to(request.user), made.pk, request.user, made.told or None)
    return render(request, "generation/_request_card.html", {"card": card})


def _refused(request: PersonRequest, words: str) -> HttpResponse:
    if not request.htmx:
        messages.error(request, words)
        return redirect("studio")
    answer = reswap(HttpResponse(status=INVALID), "none")
    return trigger_client_event(answer, "toast", {"message": words, "level": "error"})
