"""One real portal and one real Chromium for all journeys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser import ARGUMENTS, needed
from tests.portal import EMAIL, PASSWORD, Portal

PEOPLE = (
    "from accounts.models import User; [User.objects.create_user(f'{n}@example.org', %r, name=n.title()) for n in %r]"
)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Of an installed Chromium; without one the journeys are reported as not run."""
    return needed()


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    """Headless. Per module: while Playwright is open no test with an event loop can run in this process."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory, chromium_path: str) -> Iterator[Portal]:
    """`manage.py run` with alice and charlie in it."""
    running = Portal(Path(tmp_path_factory.mktemp("portal")) / "data").start()
    running.manage("shell", "-v", "0", "-c", PEOPLE % (PASSWORD, ["alice", "charlie"]))
    yield running
    assert running.stop() == []


@pytest.fixture
def enter(chromium: Browser, portal: Portal) -> Iterator[Callable[..., Page]]:
    """enter("alice") logs in by the login page and gives the studio. Any script error on the page fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_studio(name: str, **options: object) -> Page:
        context = chromium.new_context(base_url=portal.url, viewport={"width": 1440, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        page.goto("/")
        page.get_by_label("E-mail").or_(page.get_by_label("Email")).fill(
            EMAIL if name == "admin" else f"{name}@example.org"
        )
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in").or_(page.get_by_role("button", name="Sign In")).click()
        page.wait_for_url("**/")
        return page

    yield open_studio
    for context in contexts:
        context.close()
    assert errors == []
