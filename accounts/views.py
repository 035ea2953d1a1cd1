"""Pages about yourself."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.current import person
from accounts.forms import PreferencesForm
from accounts.models import AuditEvent
from accounts.services import preferences_save


@login_required
def activity(request: HttpRequest) -> HttpResponse:
    """Who looked at or changed what is mine, and what I did myself."""
    user = person(request)
    lines = AuditEvent.objects.filter(Q(owner=user) | Q(actor=user)).select_related("actor", "owner")
    page = Paginator(lines, 50).get_page(request.GET.get("page"))
    return render(request, "accounts/activity.html", {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def preferences(request: HttpRequest) -> HttpResponse:
    """What one chooses for the own pictures."""
    user = person(request)
    form = PreferencesForm(request.POST if request.method == "POST" else None, instance=user)
    if request.method == "POST" and form.is_valid():
        preferences_save(user=user, recipes_travel=form.cleaned_data["recipes_travel"])
        messages.success(request, "Your preferences are kept.")
        return redirect("preferences")
    return render(request, "accounts/preferences.html", {"form": form})
