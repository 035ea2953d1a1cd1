"""What pictures cost: beside them, on a page by month, person and project, and as a spreadsheet; each sees the own."""

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from generation.amounts import cost_words, energy_words, money_words, seconds_words
from generation.models import Checkpoint, GenerationRequest, Project, UsageEntry
from generation.models.usage import Cost
from generation.services.requests import request_cancel
from generation.services.transitions import request_complete
from tests.generation import pictures
from tests.generation.queue import lease, make_checkpoint, submit

Login = Callable[[User], Client]


@pytest.fixture
def prices(settings: Any) -> Iterator[None]:
    """A device of 100 W, 0.30 a kWh."""
    settings.WATTS, settings.PRICE_PER_KWH = 100, Decimal("0.30")
    yield


@pytest.fixture
def tiny(db: None) -> Checkpoint:
    return make_checkpoint()


def drawn(user: User, project: Project, checkpoint: Checkpoint, seconds: float) -> GenerationRequest:
    request = submit(user, project, checkpoint)
    lease(request, state="saving")
    assert request_complete(request=request, pictures=[], figures={"device_seconds": seconds})
    return request


@pytest.fixture
def spent(alice: User, bob: User, team: Project, project: Project, tiny: Checkpoint, prices: None) -> None:
    """Alice 90 s in two projects, bob 36 s in his own."""
    drawn(alice, project, tiny, 60.0), drawn(alice, team, tiny, 30.0)
    drawn(bob, Project.objects.create(name="=SUM(A1:A9)", owner=bob), make_checkpoint("other"), 36.0)
    request_cancel(request=submit(alice, project, tiny))


def test_amounts_in_words() -> None:
    assert [seconds_words(value) for value in (0, 0.0421, 2.04, 1234.56)] == ["0 s", "0.042 s", "2 s", "1,234.6 s"]
    assert [energy_words(value) for value in (0.012345, 12, 250, 1234)] == ["0.0123 Wh", "12 Wh", "250 Wh", "1.23 kWh"]
    assert [money_words(value) for value in (0.00012345, 0.5, 1234.5)] == ["0.000123 EUR", "0.5 EUR", "1,234.50 EUR"]
    assert cost_words(Cost(2500)) == "2.5 device-seconds"
    assert cost_words(Cost(36_000, 3_600_000, 300_000)) == "36 device-seconds, 1 Wh, 0.0003 EUR"
    assert cost_words(Cost()) == cost_words(None) == ""


def test_one_sees_ones_own(spent: None, alice: User, bob: User, charlie: User, login: Login) -> None:
    page = login(alice).get("/costs/?by=project").content.decode()
    assert "Team" in page and "Personal" in page and "SUM(" not in page
    assert '<td data-label="Device">90 s</td>' in page, "in all"
    assert "2.5 Wh" in page and "0.00075 EUR" in page
    assert "By person" not in page and "Everybody" not in page
    assert "36 s" in login(bob).get("/costs/").content.decode()
    assert "Nothing yet" in login(charlie).get("/costs/?by=person").content.decode()


def test_operators_see_all_of_it(spent: None, alice: User, olga: User, login: Login) -> None:
    client = login(olga)
    assert "Nothing yet" in client.get("/costs/").content.decode()
    page = client.get("/costs/all/?by=person").content.decode()
    assert page.index("Alice") < page.index("Bob") and ">126 s</td>" in page
    assert "Other" in client.get("/costs/all/?by=checkpoint").content.decode()
    month = f"{UsageEntry.objects.first().day:%Y-%m}"  # type: ignore[union-attr]
    assert ">126 s</td>" in client.get(f"/costs/all/?month={month}").content.decode()
    assert "Nothing was charged in May 1999" in client.get("/costs/all/?month=1999-05").content.decode()
    assert client.get("/costs/all/?month=nonsense&by=nonsense&page=99").status_code == 200
    for door in ("costs_all", "costs_all_csv"):
        assert login(alice).get(reverse(door)).status_code == 403


def rows(client: Client, door: str) -> list[dict[str, str]]:
    answer = client.get(reverse(door))
    assert answer["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(answer.content.decode())))


def test_the_spreadsheet_adds_up_and_calculates_nothing(
    spent: None, alice: User, bob: User, olga: User, login: Login
) -> None:
    everything = rows(login(olga), "costs_all_csv")
    assert sum(Decimal(row["device-seconds"]) for row in everything) == 126
    assert sum(Decimal(row["EUR"]) for row in everything) == Decimal("0.00105")
    assert {row["person"] for row in everything} == {"alice@example.org", "bob@example.org"}
    assert {row["project"] for row in everything} == {"Personal", "Team", "'=SUM(A1:A9)"}
    mine = rows(login(alice), "costs_csv")
    assert sum(Decimal(row["device-seconds"]) for row in mine) == 90
    assert {(row["person"], row["device"], row["lane"]) for row in mine} == {("alice@example.org", "main", "now")}


def test_what_a_picture_cost_stands_beside_it(
    alice: User, bob: User, team: Project, tiny: Checkpoint, prices: None, login: Login
) -> None:
    request = submit(alice, team, tiny, count=2)
    lease(request, state="saving")
    images = [pictures.image(project=team, request=request, index=index) for index in range(2)]
    request_complete(request=request, pictures=[], figures={"device_seconds": 72.0})
    canceled = request_cancel(request=submit(alice, team, tiny))
    for page in ("/", "/history/", reverse("request_card", args=[request.pk])):
        assert "72 device-seconds, 2 Wh, 0.0006 EUR" in login(alice).get(page).content.decode()
    assert "cost nothing" in login(alice).get(reverse("request_card", args=[canceled.pk])).content.decode()
    page = login(bob).get(reverse("image_detail", args=[images[0].pk])).content.decode()
    assert "72 device-seconds, 2 Wh" in page, "the line of this test tells of no pictures, so all of it is this one's"


def test_the_number_of_queries_does_not_grow(alice: User, olga: User, tiny: Checkpoint, login: Login) -> None:
    client, counts = login(olga), []
    for number in (1, 12):
        for index in range(number):
            owner = User.objects.create_user(f"p{number}-{index}@example.org")
            drawn(owner, Project.objects.create(name=f"p{index}", owner=owner), tiny, 1.0)
        with CaptureQueriesContext(connection) as asked:
            client.get("/costs/all/?by=person")
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 7
