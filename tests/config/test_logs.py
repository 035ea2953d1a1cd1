"""What the log says of a client's mistakes: one line of warning, where Django has an error and a traceback."""

import io
import logging
from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from accounts.models import User
from config.logs import calm_down

Login = Callable[[User], Client]


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """What the portal prints, through the handler that the settings made."""
    handlers = [handler for handler in logging.getLogger().handlers if handler.name == "console"]
    (handler,) = handlers
    assert isinstance(handler, logging.StreamHandler)
    said = io.StringIO()
    before = handler.setStream(said)
    yield said
    handler.setStream(before)


def test_too_long_a_prompt_is_one_line_of_warning(alice: User, login: Login, console: io.StringIO) -> None:
    assert login(alice).post("/requests/new/", {"prompt": "a" * 3_000_000}).status_code == 413
    assert_calm(console, "RequestDataTooBig")


def test_a_refused_lookup_in_the_admin_is_one_line_of_warning(olga: User, login: Login, console: io.StringIO) -> None:
    answer = login(olga).get("/admin/accounts/user/?password__startswith=a")
    assert answer.status_code == 400
    assert_calm(console, "DisallowedModelAdminLookup")


def test_an_error_of_ours_keeps_its_traceback(console: io.StringIO) -> None:
    try:
        raise ZeroDivisionError("ours")
    except ZeroDivisionError:
        logging.getLogger("django.request").exception("Internal Server Error: /")
    assert " ERROR " in console.getvalue()
    assert "ZeroDivisionError: ours" in console.getvalue()


def test_a_log_of_errors_alone_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    record = logging.LogRecord("django.security.DisallowedHost", logging.ERROR, "x.py", 1, "no", None, None)
    assert not calm_down(record)


def assert_calm(console: io.StringIO, name: str) -> None:
    """One line of warning that names it, and nothing else that is loud."""
    lines = console.getvalue().splitlines()
    assert [line for line in lines if " ERROR " in line or "Traceback" in line or line.startswith(" ")] == []
    (line,) = [line for line in lines if name in line]
    assert " WARNING " in line
