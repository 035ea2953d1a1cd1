"""Tries to log in: counted for each address, once for all machines, and in a Redis that nobody can turn against us."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from config.backends import caches
from tests import servers

TRIES = 10  # a minute and address, of those that fail: allauth's own limit
PAGES = 30  # a minute and address, whatever is sent
NOBODY = {"login": "nobody{}@example.org", "password": "not the right one"}


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """A real one."""
    with servers.redis() as (_, address):
        yield address


@pytest.fixture
def shared(redis: str, settings: Any) -> Iterator[Any]:
    """The cache as the settings make it; gives a client that looks behind it."""
    settings.CACHES = caches(redis)
    with redis_client.Redis.from_url(redis) as client:
        client.flushdb()
        yield client


@pytest.fixture
def own(settings: Any) -> Iterator[None]:
    """An empty cache of this process."""
    settings.CACHES = caches("")
    cache.clear()
    yield
    cache.clear()


class Bomb:
    """What runs when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


def tries(number: int, start: int = 0, **headers: str) -> list[str]:
    """Tries that fail, each for somebody else, so that only their address is counted; what the page says."""
    client, said = Client(REMOTE_ADDR="192.0.2.1"), []
    for count in range(start, start + number):
        form = {**NOBODY, "login": NOBODY["login"].format(count)}
        page = client.post(reverse("account_login"), form, headers=headers).content.decode()
        said.append("refused" if "Too many failed login attempts" in page else "wrong")
    return said


def test_a_pickle_in_redis_is_not_run(shared: Any, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(trace)))  # noqa: S301 our own
    assert trace.exists(), "the bomb must be a bomb"
    trace.unlink()
    cache.set("tries", [1.5, 2.5])
    key = shared.keys("*tries")[0]
    shared.set(key, pickle.dumps(Bomb(trace)))
    with pytest.raises(ValueError):
        cache.get("tries")
    assert not trace.exists()


def test_what_is_kept_in_redis_comes_back(shared: Any) -> None:
    cache.set_many({"tries": [1.5, 2.5], "lock": True, "count": 4, "words": "schön"})
    cache.incr("count")
    found = cache.get_many(["tries", "lock", "count", "words", "other"])
    assert found == {"tries": [1.5, 2.5], "lock": True, "count": 5, "words": "schön"}


@pytest.mark.usefixtures("shared", "db")
def test_tries_are_counted_in_redis() -> None:
    assert tries(TRIES + 1) == ["wrong"] * TRIES + ["refused"]


@pytest.mark.usefixtures("own", "db")
def test_behind_a_proxy_each_visitor_has_tries_of_their_own(settings: Any) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    first, second = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.2"}
    assert tries(TRIES + 1, **first)[-1] == "refused"
    assert tries(1, TRIES + 1, **second) == ["wrong"]
    claimed = {"X-Forwarded-For": "203.0.113.9, 198.51.100.1"}
    assert tries(1, TRIES + 2, **claimed) == ["refused"], "what a visitor says before the proxy changes nothing"


@pytest.mark.usefixtures("own", "db")
def test_without_a_proxy_a_forged_header_changes_nothing() -> None:
    for count in range(TRIES):
        assert tries(1, count, **{"X-Forwarded-For": f"198.51.100.{count}"}) == ["wrong"]
    assert tries(1, TRIES, **{"X-Forwarded-For": "198.51.100.77"}) == ["refused"]


@pytest.mark.usefixtures("own", "db")
def test_who_tries_too_often_reads_when_to_come_back() -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    answers = [client.post(reverse("account_login")) for _ in range(PAGES + 1)]
    assert [answer.status_code for answer in answers[-2:]] == [200, 429]
    page = answers[-1].content.decode()
    assert "Wait a minute, then try again." in page and "To the studio" in page
