"""What a person chooses for the own pictures, and nobody else for them."""

from collections.abc import Callable

from django.test import Client
from django.urls import reverse

from accounts.models import User

Login = Callable[[User], Client]
URL = "/accounts/preferences/"


def test_a_person_switches_recipes_off_and_on(alice: User, bob: User, login: Login) -> None:
    client = login(alice)
    assert b"checked" in client.get(URL).content
    answer = client.post(URL, {})
    assert (answer.status_code, answer.url) == (302, reverse("preferences"))
    alice.refresh_from_db()
    assert not alice.recipes_travel
    page = client.get(URL).content
    assert b"are kept" in page and b"checked" not in page
    bob.refresh_from_db()
    assert bob.recipes_travel
    client.post(URL, {"recipes_travel": "on", "is_staff": "on", "email": "x@example.org"})
    alice.refresh_from_db()
    assert (alice.recipes_travel, alice.is_staff, alice.email) == (True, False, "alice@example.org")


def test_nobody_is_sent_to_the_door(client: Client, db: None) -> None:
    for answer in (client.get(URL), client.post(URL, {})):
        assert answer.url.startswith("/accounts/login/")


def test_the_menu_leads_there(alice: User, login: Login) -> None:
    assert f'href="{URL}"' in login(alice).get("/").content.decode()
