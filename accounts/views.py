"""Pages about yourself."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.current import person
from accounts.models import AuditEvent


@login_required
def activity(request: HttpRequest) -> HttpResponse:
    """Who looked at or changed what is mine, and what I did myself."""
    user = person(request)
    lines = AuditEvent.objects.filter(Q(owner=user) | Q(actor=user)).select_related("actor", "owner")
    page = Paginator(lines, 50).get_page(request.GET.get("page"))
    return render(request, "accounts/activity.html", {"page": page})
