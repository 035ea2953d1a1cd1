"""The studio: the form, the stage where pictures appear, my queue."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import User
from core.models import parse_key
from generation import payloads
from generation.engines.params import MAX_COUNT
from generation.forms import TUNING, StudioForm
from generation.models import Checkpoint, GenerationRequest, Image, Upload
from generation.services.checkpoints import checkpoint_that_describes
from generation.services.quotas import person_today
from generation.views import PersonRequest
from generation.views.cards import Card, cards, with_pictures
from generation.views.options import options, size_choices
from generation.views.prefill import prefill

RECENT = 6
EXAMPLES = ("a cat left of a pizza on blue", "a red apple on white", "a robot above a guitar on yellow")


@require_safe
@login_required
def studio(request: PersonRequest) -> HttpResponse:
    """The page. ?remix, ?again, ?source, ?project and ?prompt fill the form."""
    return studio_page(request, StudioForm(user=request.user, initial=prefill(request.user, request.GET)))


def studio_page(request: PersonRequest, form: StudioForm, status: int = 200) -> HttpResponse:
    """The whole page around a form, also one with errors."""
    checkpoints = list(Checkpoint.objects.filter(enabled=True).order_by("-is_starter", "name"))
    source = source_context(request.user, form["source_image"].value(), form["source_upload"].value())
    has_source = source["source_image"] or source["source_upload"]
    context = {
        "form": form,
        "options": options(checkpoints, form["checkpoint"].value()),
        "sizes": size_choices(checkpoints),
        "counts": range(1, MAX_COUNT + 1),
        "numbers": [form[name] for name in TUNING],
        "cards": studio_cards(request.user),
        "examples": EXAMPLES,
        "prompt_limit": settings.PROMPT_MAX_LENGTH,
        "paused": payloads.drawing_paused(),
        "today": person_today(user=request.user),
        "source_words": "" if has_source else form.initial.get("source_words", ""),
        **source,
    }
    return render(request, "generation/studio.html", context, status=status)


def studio_cards(user: User) -> list[Card]:
    """All that is open, and the newest of what is done."""
    mine = GenerationRequest.objects.visible_to(user)
    done = mine.filter(state__in=GenerationRequest.FINAL)[:RECENT]
    shown = [*mine.open().order_by().values_list("pk", flat=True), *done.values_list("pk", flat=True)]
    return cards(with_pictures(mine.filter(pk__in=shown)), user) if shown else []


def source_context(user: User, image: object, upload: object) -> dict[str, object]:
    """The picture to start from, when it is there and may be used."""
    found: dict[str, object] = {
        "source_image": None,
        "source_upload": None,
        "upload_limit": settings.UPLOAD_MAX_BYTES,
        "can_describe": checkpoint_that_describes() is not None,
    }
    if key := parse_key(upload):
        found["source_upload"] = Upload.objects.filter(owner=user, pk=key).first()
    if (key := parse_key(image)) and not found["source_upload"]:
        found["source_image"] = Image.objects.readable_by(user).kept().filter(pk=key).first()
    return found
