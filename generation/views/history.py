"""Everything I ever asked for, newest first, with the reasons of failures."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from generation.models import GenerationRequest
from generation.views import PersonRequest
from generation.views.cards import cards, with_pictures

PAGE_SIZE = 20
State = GenerationRequest.State
FILTERS = {
    "": ("All", tuple(State)),
    "open": ("In the queue", (State.QUEUED, *GenerationRequest.LEASED)),
    "completed": ("Done", (State.COMPLETED,)),
    "failed": ("Failed", (State.FAILED,)),
    "canceled": ("Canceled", (State.CANCELED,)),
}


@require_safe
@login_required
def history(request: PersonRequest) -> HttpResponse:
    """A page of it; ?state= keeps one kind. An unknown kind is none."""
    chosen = request.GET.get("state", "")
    chosen = chosen if chosen in FILTERS else ""
    mine = with_pictures(GenerationRequest.objects.visible_to(request.user))
    if chosen:
        mine = mine.filter(state__in=FILTERS[chosen][1])
    page = Paginator(mine, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "cards": cards(page.object_list, request.user),
        "filters": [(name, words) for name, (words, _) in FILTERS.items()],
        "chosen": chosen,
        "query": f"state={chosen}&" if chosen else "",
    }
    return render(request, "generation/history.html", context)
