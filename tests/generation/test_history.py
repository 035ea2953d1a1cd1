"""My history: mine only, filtered, paged, in a fixed number of queries, with the reasons of failures."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from generation.models import GenerationRequest, Membership, Project
from generation.payloads import request_payload
from tests.generation import pictures

Login = Callable[[User], Client]


@pytest.fixture
def requests(alice: User, project: Project) -> list[GenerationRequest]:
    checkpoint = pictures.checkpoint()
    made = []
    for number, state in enumerate(("queued", "completed", "failed", "canceled")):
        made.append(
            GenerationRequest.objects.create(
                owner=alice,
                project=project,
                checkpoint=checkpoint,
                prompt=f"wish {number}",
                state=state,
                params={"width": 64, "height": 64, "count": 1, "seed": 9},
                error_message="The device has not enough memory." if state == "failed" else "",
                error_hint="Draw fewer pictures." if state == "failed" else "",
            )
        )
    pictures.image(project=project, request=made[1])
    return made


def shown(client: Client, url: str) -> list[str]:
    answer = client.get(url)
    assert answer.status_code == 200
    return [card.request.prompt for card in answer.context["cards"]]


def test_newest_first_with_reasons(alice: User, login: Login, requests: list[GenerationRequest]) -> None:
    client = login(alice)
    assert shown(client, "/history/") == ["wish 3", "wish 2", "wish 1", "wish 0"]
    html = client.get("/history/").content.decode()
    assert "The device has not enough memory." in html
    assert "Draw fewer pictures." in html
    assert f"/?again={requests[2].pk}" in html
    assert f"/requests/{requests[2].pk}/retry/" in html
    assert f"/requests/{requests[0].pk}/cancel/" in html


@pytest.mark.parametrize(
    ("state", "prompts"),
    [("open", ["wish 0"]), ("completed", ["wish 1"]), ("failed", ["wish 2"]), ("canceled", ["wish 3"])],
)
def test_filters(alice: User, login: Login, requests: list[GenerationRequest], state: str, prompts: list[str]) -> None:
    assert shown(login(alice), f"/history/?state={state}") == prompts


def test_an_unknown_filter_shows_all(alice: User, login: Login, requests: list[GenerationRequest]) -> None:
    assert len(shown(login(alice), "/history/?state=nonsense")) == 4


def test_mine_only(
    alice: User, bob: User, olga: User, login: Login, client: Client, requests: list[GenerationRequest]
) -> None:
    assert shown(login(bob), "/history/") == []
    assert shown(login(olga), "/history/") == []
    assert client.get("/history/").status_code == 302


def test_who_was_removed_sees_no_broken_pictures(
    alice: User, bob: User, team: Project, login: Login, requests: list[GenerationRequest]
) -> None:
    Membership.objects.update(role=Membership.Role.EDITOR)
    for state in ("completed", "failed"):
        mine = GenerationRequest.objects.create(
            owner=bob, project=team, checkpoint=requests[0].checkpoint, prompt="a cat", state=state
        )
    image = pictures.image(project=team, owner=bob, request=GenerationRequest.objects.get(owner=bob, state="completed"))
    client, gallery = login(bob), f"/projects/{team.pk}/"
    for url in ("/", "/history/"):
        assert str(image.pk) in client.get(url).content.decode()
    assert gallery in client.get("/history/").content.decode()
    assert [one["id"] for one in request_payload(image.request)["images"]] == [str(image.pk)]
    Membership.objects.all().delete()
    for url in ("/", "/history/"):
        html = client.get(url).content.decode()
        assert html.count("You are no longer in this project.") == 2
        assert str(image.pk) not in html
        assert gallery not in html
        assert f"/requests/{mine.pk}/retry/" not in html
    assert request_payload(image.request)["images"] == []


def test_pages(alice: User, project: Project, login: Login) -> None:
    checkpoint = pictures.checkpoint()
    for number in range(45):
        GenerationRequest.objects.create(
            owner=alice, project=project, checkpoint=checkpoint, prompt=f"wish {number}", state="failed"
        )
    client = login(alice)
    assert shown(client, "/history/?page=3") == [f"wish {number}" for number in (4, 3, 2, 1, 0)]
    assert shown(client, "/history/?page=99") == shown(client, "/history/?page=3")
    assert shown(client, "/history/?page=x") == shown(client, "/history/")
    assert "?state=failed&amp;page=2" in client.get("/history/?state=failed").content.decode()


def test_the_number_of_queries_does_not_grow(
    alice: User, project: Project, login: Login, requests: list[GenerationRequest]
) -> None:
    client = login(alice)
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/history/")
    for state in ("queued", "completed") * 6:
        request = GenerationRequest.objects.create(
            owner=alice, project=project, checkpoint=requests[0].checkpoint, prompt="more", state=state
        )
        pictures.image(project=project, request=request)
    with CaptureQueriesContext(connection) as many:
        client.get("/history/")
    assert len(many) == len(few) <= 15
