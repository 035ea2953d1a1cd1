"""What the ledger says in sums: by person, project, checkpoint or month. Reads only; doors ask whose rows."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, Count, F, Q, Sum, Value
from django.db.models.functions import Coalesce, NullIf, TruncMonth

from generation.models.usage import Cost, UsageEntry, UsageQuerySet

# How rows are put together: the columns that tell them apart, and in which order they come.
NAME = Coalesce(NullIf("owner__name", Value("")), "owner__email", output_field=CharField())
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "month": (("month",), ("-month",)),
    "person": (("owner_id", "person"), ("-used", "person")),
    "project": (("project_id", "project__name"), ("-used", "project__name")),
    "checkpoint": (("checkpoint_id", "checkpoint__title"), ("-used", "checkpoint__title")),
}
LABEL = {"month": "month", "person": "person", "project": "project__name", "checkpoint": "checkpoint__title"}


@dataclass(frozen=True, slots=True)
class Line:
    """One group: what it is called, how many requests were charged, their pictures and what they cost."""

    label: Any
    requests: int
    pictures: int
    cost: Cost


def spent(rows: UsageQuerySet, by: str) -> Any:
    """Groups of charged requests, to be paged; `lines` makes them readable. `by`: a name of GROUPS."""
    keys, order = GROUPS[by]
    charged = rows.filter(kind=UsageEntry.Kind.SETTLE).order_by()
    named = charged.annotate(month=TruncMonth("day"), person=NAME)
    return named.values(*keys).annotate(**_sums()).order_by(*order)


def lines(groups: Any, by: str) -> list[Line]:
    """Groups as a page shows them."""
    return [_line(group, group[LABEL[by]]) for group in groups]


def total(rows: UsageQuerySet) -> Line:
    """All of them together."""
    return _line(rows.filter(kind=UsageEntry.Kind.SETTLE).order_by().aggregate(**_sums()), "")


def months(rows: UsageQuerySet) -> list[datetime.date]:
    """First days of the months in which anything was charged, newest first."""
    charged = rows.filter(kind=UsageEntry.Kind.SETTLE).order_by()
    return list(charged.annotate(month=TruncMonth("day")).values_list("month", flat=True).distinct().order_by("-month"))


def in_month(rows: UsageQuerySet, month: datetime.date) -> UsageQuerySet:
    """Those of the month that begins on that day."""
    after = (month + datetime.timedelta(days=32)).replace(day=1)
    return rows.filter(Q(day__gte=month) & Q(day__lt=after))


def table(rows: UsageQuerySet) -> Iterator[tuple[Any, ...]]:
    """Every sum there is, for a spreadsheet: month, person, project, checkpoint, device, lane, then the figures."""
    charged = rows.filter(kind=UsageEntry.Kind.SETTLE).order_by()
    named = charged.annotate(month=TruncMonth("day"), address=F("owner__email"))
    keys = ("month", "address", "project__name", "project_id", "checkpoint__name", "device", "lane")
    groups = named.values(*keys).annotate(**_sums()).order_by(*keys)
    for group in groups.iterator(chunk_size=500):
        line = _line(group, "")
        figures = (line.requests, line.pictures, line.cost.milliseconds, line.cost.millijoules, line.cost.nano)
        yield (*(group[key] for key in keys), *figures)


def _sums() -> dict[str, Any]:
    return {
        "requests": Count("pk"),
        "drawn": Coalesce(Sum("pictures"), 0),
        "used": Coalesce(Sum("used_ms"), 0),
        "energy": Coalesce(Sum("energy_mj"), 0),
        "money": Coalesce(Sum("cost_nano"), 0),
    }


def _line(group: dict[str, Any], label: Any) -> Line:
    cost = Cost(int(group["used"]), int(group["energy"]), int(group["money"]))
    return Line(label, group["requests"], group["drawn"], cost)
