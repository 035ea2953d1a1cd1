"""What drawing has cost: one's own for everybody, all of it for operators; as a page and as a spreadsheet."""

import csv
import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from generation.models import UsageEntry
from generation.models.usage import MILLI, MILLIJOULES_PER_WATT_HOUR, NANO, UsageQuerySet
from generation.services.quotas import person_today
from generation.services.spending import in_month, lines, months, spent, table, total
from generation.views import PersonRequest

PAGE_SIZE = 100
MINE = {"month": "By month", "project": "By project", "checkpoint": "By checkpoint"}
ALL = {"month": "By month", "person": "By person", "project": "By project", "checkpoint": "By checkpoint"}
HEAD = ("month", "person", "project", "project id", "checkpoint", "device", "lane", "requests", "pictures")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell begins that a spreadsheet would calculate


class Echo:
    """A file for the csv module that gives each line back instead of keeping it."""

    def write(self, value: str) -> str:
        """The line."""
        return value


@require_safe
@login_required
def mine(request: PersonRequest) -> HttpResponse:
    """Everybody's own. ?by= groups, ?month= keeps one month."""
    context = {"today": person_today(user=request.user), "everybody": False}
    return _page(request, UsageEntry.objects.visible_to(request.user), MINE, context)


@require_safe
@login_required
def everybody(request: PersonRequest) -> HttpResponse:
    """All of it, for operators."""
    _operators_only(request)
    return _page(request, UsageEntry.objects.all(), ALL, {"everybody": True})


@require_safe
@login_required
def mine_csv(request: PersonRequest) -> HttpResponse:
    """One's own, every sum there is."""
    return _csv(request, UsageEntry.objects.visible_to(request.user), "my-costs")


@require_safe
@login_required
def everybody_csv(request: PersonRequest) -> HttpResponse:
    """All of it, for operators."""
    _operators_only(request)
    return _csv(request, UsageEntry.objects.all(), "costs")


def _operators_only(request: PersonRequest) -> None:
    if not request.user.is_staff:
        raise PermissionDenied("Only operators see what everybody's pictures cost.")


def _page(request: PersonRequest, rows: UsageQuerySet, groups: dict[str, str], more: dict[str, Any]) -> HttpResponse:
    by = request.GET.get("by", "")
    by = by if by in groups else "month"
    month = _month(request.GET.get("month", ""))
    chosen = in_month(rows, month) if month else rows
    page = Paginator(spent(chosen, by), PAGE_SIZE).get_page(request.GET.get("page"))
    kept = {"month": f"{month:%Y-%m}"} if month else {}
    context = {
        "by": by,
        "groups": groups.items(),
        "month": month,
        "months": months(rows),
        "page": page,
        "lines": lines(page.object_list, by),
        "total": total(chosen),
        "kept": urlencode(kept),
        "query": urlencode({"by": by, **kept}) + "&",
        "here": reverse("costs_all" if more["everybody"] else "costs"),
        "csv": reverse("costs_all_csv" if more["everybody"] else "costs_csv"),
        **more,
    }
    return render(request, "generation/costs.html", context)


def _csv(request: PersonRequest, rows: UsageQuerySet, name: str) -> HttpResponse:
    month = _month(request.GET.get("month", ""))
    chosen = in_month(rows, month) if month else rows
    name = f"{name}-{month:%Y-%m}" if month else name
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "private, no-store"}
    return HttpResponse("".join(_csv_lines(chosen)), content_type="text/csv; charset=utf-8", headers=headers)


def _csv_lines(rows: UsageQuerySet) -> Iterator[str]:
    write = csv.writer(Echo()).writerow
    yield write((*HEAD, "device-seconds", "watt-hours", settings.CURRENCY))
    for month, *words, requests, pictures, milliseconds, millijoules, nano in table(rows):
        sums = (
            Decimal(milliseconds) / MILLI,
            round(Decimal(millijoules) / MILLIJOULES_PER_WATT_HOUR, 6),
            round(Decimal(nano) / NANO, 9),
        )
        exact = (f"{value:f}" for value in sums)
        yield write((f"{month:%Y-%m}", *map(_cell, words), requests, pictures, *exact))


def _cell(value: object) -> str:
    words = str(value)
    return f"'{words}" if words.startswith(FORMULA) else words


def _month(value: str) -> datetime.date | None:
    """2026-11; anything else is none."""
    try:
        return datetime.datetime.strptime(value, "%Y-%m").date()  # noqa: DTZ007 a month has no time zone
    except ValueError:
        return None
