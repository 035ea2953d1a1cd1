"""The ledger of device-seconds: what is reserved, charged and given back, and that it adds up to the millisecond."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.db.models.functions import TruncMonth
from django.utils import timezone

from accounts.models import User
from generation.models import Checkpoint, Device, GenerationRequest, Project, UsageEntry
from generation.models.usage import Cost
from generation.services.prices import Prices, prices_of
from generation.services.requests import request_cancel, requests_refuse
from generation.services.transitions import (
    LeaseLostError,
    request_complete,
    request_end_lease,
    request_fail,
    request_give_back,
    request_keep,
    request_stop,
)
from generation.services.usage import usage_end
from tests.generation.queue import lease, make_checkpoint, submit

EVENTS = 10_000
BEGAN = datetime(2026, 1, 20, tzinfo=UTC)
STEP = timedelta(days=120) / EVENTS
KINDS = (*["submit"] * 3, *["claim"] * 3, "cancel", "complete", "complete", "keep", "fail", "lost", "stop")


@pytest.fixture
def tiny(db: None) -> Checkpoint:
    """Foretold to take 1.5 s a picture."""
    return make_checkpoint(seconds_per_picture=1.5)


def lines(request: GenerationRequest) -> list[tuple[str, int, int]]:
    """Kind, what was reserved and what was used, in their order."""
    rows = UsageEntry.objects.filter(request=request).order_by("created_at")
    return list(rows.values_list("kind", "reserved_ms", "used_ms"))


def drawn(user: User, project: Project, checkpoint: Checkpoint, seconds: float) -> GenerationRequest:
    request = submit(user, project, checkpoint, count=2)
    lease(request, state="saving")
    assert request_complete(request=request, pictures=[], figures={"device_seconds": seconds})
    return request


def test_a_picture_is_charged_for_what_it_took(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = drawn(alice, project, tiny, 2.3456)
    assert lines(request) == [("reserve", 3000, 0), ("settle", -3000, 2346)]
    end = request.usage.get(kind="settle")
    assert (end.owner, end.project, end.checkpoint, end.device) == (alice, project, tiny, "main")
    assert end.day == timezone.localdate(request.created_at)


@pytest.mark.parametrize("state", ["queued", "loading", "running"])
def test_what_was_canceled_unseen_costs_nothing(alice: User, project: Project, tiny: Checkpoint, state: str) -> None:
    request = submit(alice, project, tiny)
    if state != "queued":
        lease(request, state=state)
    request_cancel(request=request)
    if state != "queued":
        request_stop(request=request)
    assert lines(request) == [("reserve", 1500, 0), ("refund", -1500, 0)]


def test_what_was_canceled_when_seen_costs_what_it_took(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny)
    lease(request)
    request_cancel(request=request)
    request_stop(request=request, seconds=0.25)
    request.refresh_from_db()
    assert lines(request) == [("reserve", 1500, 0), ("settle", -1500, 250)]
    assert (request.state, request.device_seconds) == ("canceled", 0.25)


def test_failures_are_refunded_and_another_attempt_reserves_nothing_more(
    alice: User, project: Project, tiny: Checkpoint
) -> None:
    request = submit(alice, project, tiny)
    lease(request)
    assert request_end_lease(request=request, code="x", message="lost") == "queued"
    lease(request)
    request_give_back(request=request)
    assert lines(request) == [("reserve", 1500, 0)]
    lease(request)
    request_fail(request=request, code="blank_picture", message="It was black.")
    assert lines(request)[1:] == [("refund", -1500, 0)]


def test_who_lost_the_lease_charges_nothing(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny)
    lease(request, state="saving")
    request_cancel(request=request)
    assert not request_complete(request=request, pictures=[], figures={"device_seconds": 9.0})
    assert len(lines(request)) == 1
    request_stop(request=request)
    with pytest.raises(LeaseLostError):
        request_fail(request=request, code="late", message="too late")
    assert len(lines(request)) == 2


def test_what_can_never_be_drawn_is_refunded(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = submit(alice, project, tiny)
    Checkpoint.objects.update(enabled=False)
    assert requests_refuse() == 1
    assert lines(request)[-1] == ("refund", -1500, 0)


def test_it_is_only_added_to(alice: User, project: Project, tiny: Checkpoint) -> None:
    request = drawn(alice, project, tiny, 1.0)
    line = request.usage.get(kind="settle")
    deeds: list[Callable[[], Any]] = [
        line.save,
        line.delete,
        lambda: UsageEntry.objects.update(used_ms=0),
        lambda: UsageEntry.objects.filter(owner=alice).delete(),
    ]
    for deed in deeds:
        with pytest.raises(TypeError, match="only added to"):
            deed()
    with pytest.raises(IntegrityError), transaction.atomic():
        usage_end(request=request, seconds=1.0)


def test_money_is_a_sum_of_whole_billionths(settings: Any) -> None:
    assert Prices().cost(1000) == Cost(1000, 0, 0)
    settings.WATTS, settings.PRICE_PER_KWH, settings.PRICE_PER_DEVICE_HOUR = 300, Decimal("0.30"), Decimal("1.80")
    cost = prices_of(None).cost(3_600_000)
    assert (cost.seconds, cost.watt_hours, cost.money) == (3600.0, 300.0, 1.89)
    own = prices_of(Device(name="own", watts=100, price_per_hour=Decimal(0)))
    assert own.cost(3_600_000) == Cost(3_600_000, 360_000_000, 30_000_000)
    assert own.cost(1).nano == 8, "8.33 billionths"
    assert Cost(10, 9, 8).shared(4) == Cost(2, 2, 2)


@dataclass
class Account:
    """What the test itself believes, kept beside the ledger."""

    dice: random.Random
    now: datetime
    queued: list[GenerationRequest] = field(default_factory=list)
    leased: list[GenerationRequest] = field(default_factory=list)
    used: Counter[tuple[str, object]] = field(default_factory=Counter)
    months: dict[object, str] = field(default_factory=dict)
    kept: Counter[object] = field(default_factory=Counter)  # milliseconds, of what is kept while the rest waits

    def take(self, rows: list[GenerationRequest]) -> GenerationRequest:
        return rows.pop(self.dice.randrange(len(rows)))

    def charge(self, request: GenerationRequest, seconds: float) -> None:
        milliseconds = round(seconds * 1000) + self.kept[request.pk]
        for key in ("total", ""), ("owner", request.owner_id), ("project", request.project_id):
            self.used[key] += milliseconds
        self.used["month", self.months[request.pk]] += milliseconds

    def seconds(self) -> float:
        return self.dice.randrange(1, 90_000) / 1000


def happen(account: Account, submits: Callable[[], GenerationRequest]) -> None:
    """One random event, through the services."""
    dice = account.dice
    kind = dice.choice(KINDS)
    if kind == "submit" or not account.queued or not account.leased:
        account.queued.append(submits())
        account.months[account.queued[-1].pk] = f"{account.now:%Y-%m}"
        if not account.leased:
            claim(account)
    elif kind == "claim":
        claim(account)
    elif kind == "cancel":
        request = account.take(account.queued)
        request_cancel(request=request)
        account.charge(request, 0.0)
    else:
        end(account, account.take(account.leased), kind)


def claim(account: Account) -> None:
    request = account.take(account.queued)
    lease(request, state="saving")
    account.leased.append(request)


def end(account: Account, request: GenerationRequest, kind: str) -> None:
    seconds = account.seconds()
    if kind == "complete":
        assert request_complete(request=request, pictures=[], figures={"device_seconds": seconds})
        account.charge(request, seconds)
    elif kind == "fail":
        request_fail(request=request, code="blank_picture", message="It was black.")
        account.charge(request, 0.0)
    elif kind == "keep":
        assert request_keep(request=request, pictures=[], seconds=seconds)
        account.kept[request.pk] += round(seconds * 1000)
        account.queued.append(request)
    elif kind == "lost":
        request_give_back(request=request)
        account.queued.append(request)
    else:
        seen = seconds if account.dice.random() < 0.5 else 0.0
        request_stop(request=request, seconds=seen)
        account.charge(request, seen)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    account = Account(random.Random(5), BEGAN)  # noqa: S311 the same every time
    monkeypatch.setattr(timezone, "now", lambda: account.now)
    yield account


@pytest.mark.timeout(1200)
def test_ten_thousand_random_events_add_up(
    alice: User, bob: User, charlie: User, olga: User, clock: Account, settings: Any
) -> None:
    settings.MAX_QUEUED = EVENTS
    settings.WATTS, settings.PRICE_PER_KWH = 137, Decimal("0.3179")
    people = [alice, bob, charlie, olga]
    places = [(who, Project.objects.create(name=f"{who} {n}", owner=who)) for who in people for n in range(2)]
    checkpoints = [make_checkpoint(f"c{n}", seconds_per_picture=0.3 * n) for n in range(4)]
    for _ in range(EVENTS):
        wish = (*clock.dice.choice(places), clock.dice.choice(checkpoints))
        happen(clock, partial(submit, *wish, count=clock.dice.randint(1, 4)))
        clock.now += STEP
    assert sums() == +clock.used
    assert len({month for kind, month in clock.used if kind == "month"}) == 5
    waiting = GenerationRequest.objects.open()
    assert len(waiting) == len(clock.queued) + len(clock.leased) > 100
    held = UsageEntry.objects.aggregate(a=Sum("reserved_ms"))["a"]
    assert held == sum(round(request.predicted_seconds * 1000) for request in waiting)
    assert UsageEntry.objects.cost().millijoules == 137 * clock.used["total", ""]
    assert UsageEntry.objects.ends().count() + len(waiting) == GenerationRequest.objects.count()


def sums() -> Counter[tuple[str, object]]:
    """Of the ledger: in total, by person, by project, by month."""
    found: Counter[tuple[str, object]] = Counter({("total", ""): UsageEntry.objects.cost().milliseconds})
    rows = UsageEntry.objects.order_by()
    for kind in ("owner", "project"):
        found.update({(kind, key): total for key, total in rows.values_list(kind).annotate(Sum("used_ms"))})
    by_month = rows.annotate(month=TruncMonth("day")).values_list("month").annotate(Sum("used_ms"))
    found.update({("month", f"{month:%Y-%m}"): total for month, total in by_month})
    return +found
