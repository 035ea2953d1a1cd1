"""Error pages look like the portal; the 500 page needs no database."""

import pytest
from django.test import Client, RequestFactory
from django.views.defaults import server_error

from accounts.models import User


def test_server_error_without_a_database() -> None:
    # No db fixture: any query fails the test.
    answer = server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    assert b"Something went wrong" in answer.content
    assert b"core/tokens.css" in answer.content


def test_not_found(db: None, client: Client) -> None:
    answer = client.get("/nowhere/")
    assert answer.status_code == 404
    assert b"Nothing is here" in answer.content


def test_csrf_failure(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    answer = client.post("/requests/new/", {"prompt": "a cat"})
    assert answer.status_code == 403
    assert b"The page was open too long" in answer.content


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"])
def test_pages_of_nobody_wear_the_design(db: None, client: Client, path: str) -> None:
    answer = client.get(path)
    assert b"core/tokens.css" in answer.content
    assert b'class="nav"' not in answer.content


@pytest.mark.parametrize("path", ["/accounts/password/change/", "/accounts/logout/", "/accounts/email/"])
def test_pages_about_myself_wear_the_design(client: Client, alice: User, path: str) -> None:
    client.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    answer = client.get(path)
    assert answer.status_code == 200
    assert b'class="nav"' in answer.content
