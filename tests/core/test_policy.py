"""What a browser may run on our pages: our own files, and scripts that carry this answer's word. Nothing else."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User

Login = Callable[[User], Client]


def policy_of(answer: object) -> dict[str, set[str]]:
    """The directives of the header."""
    header = answer.headers["Content-Security-Policy"]  # type: ignore[attr-defined]
    return {name: set(values) for name, *values in (part.split() for part in header.split(";") if part.strip())}


@pytest.mark.parametrize("url", ["/", "/history/", "/projects/", "/accounts/activity/", "/nowhere/"])
def test_our_pages_run_only_what_is_ours(alice: User, login: Login, url: str) -> None:
    policy = policy_of(login(alice).get(url))
    assert policy["default-src"] == {"'self'"}
    assert {word for word in policy["script-src"] if not word.startswith("'nonce-")} == {"'self'"}
    assert policy["style-src"] == {"'self'"}
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == {"'none'"}
    assert policy["form-action"] == {"'self'"}


def test_the_login_page_has_it_too(db: None, client: Client) -> None:
    assert policy_of(client.get("/accounts/login/"))["default-src"] == {"'self'"}


def test_only_the_admin_is_looser_and_takes_nothing_from_outside(olga: User, login: Login) -> None:
    client = login(olga)
    policy = policy_of(client.get(reverse("admin:index")))
    assert "'unsafe-inline'" in policy["script-src"]
    assert policy["default-src"] == {"'self'"}
    assert not {word for words in policy.values() for word in words if "//" in word or word == "*"}
    assert "'unsafe-inline'" not in policy_of(client.get("/"))["script-src"]


def test_every_answer_has_an_id_of_its_own(db: None, client: Client) -> None:
    first, second = (client.get("/healthz").headers["X-Request-Id"] for _ in range(2))
    assert first != second
