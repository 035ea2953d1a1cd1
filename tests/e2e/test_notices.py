"""Told on any page when a picture is done, and by the browser where the person pressed the button that asks."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.portal import Portal

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(600)]

Enter = Callable[..., Page]
WAIT = 120_000
# Stands for the browser's own: what was shown, and whether somebody asked.
STAND_IN = """
window.shown = []; window.asked = 0;
window.Notification = class extends EventTarget {
  static get permission() { return localStorage.getItem("test-permission") ?? "default"; }
  static async requestPermission() { window.asked += 1; localStorage.setItem("test-permission", "granted"); }
  constructor(title, options) { super(); window.shown.push({ title, ...options }); }
  close() {}
};
Object.defineProperty(document, "visibilityState", { get: () => localStorage.getItem("test-seen") ?? "visible" });
"""


# A request of alice's that is done, without the wait for a worker.
DONE = """
from accounts.models import User
from generation.services.projects import project_personal
from generation.services.transitions import request_complete
from generation.models import GenerationRequest
from tests.generation import pictures
from tests.generation.queue import lease, make_checkpoint
alice = User.objects.get(email="alice@example.org")
project, name = project_personal(alice), "done-%d" % GenerationRequest.objects.count()
checkpoint = make_checkpoint(name, enabled=False)
request = GenerationRequest(owner=alice, project=project, checkpoint=checkpoint, prompt="PROMPT", params={"count": 1})
lease(request, state="saving")
pictures.image(project=project, request=request, prompt="PROMPT")
assert request_complete(request=request, pictures=[], figures={"device_seconds": 1.5})
"""


def finish(portal: Portal, prompt: str) -> None:
    portal.manage("shell", "-v", "0", "-c", DONE.replace("PROMPT", prompt))


def listens(page: Page) -> None:
    """Wait until one of the pages hears of ends."""
    page.wait_for_function("async () => (await navigator.locks.query()).held.length === 1")
    page.wait_for_function("() => localStorage.getItem('tessera-news') !== null")


def test_a_toast_on_any_page_leads_to_the_picture(enter: Enter, portal: Portal) -> None:
    studio = enter("alice")
    other = studio.context.new_page()
    other.goto("/history/")
    listens(other)
    finish(portal, "a fox on white")
    toast = other.locator(".toast", has_text="a fox on white")
    expect(toast).to_contain_text("A picture is done", timeout=WAIT)
    toast.hover()  # and so it stays
    toast.get_by_role("link", name="Look").click()
    expect(other).to_have_url(re.compile("/images/"))


def test_the_browser_notifies_who_allowed_it_by_a_click(enter: Enter, portal: Portal) -> None:
    page = enter("alice")
    page.add_init_script(STAND_IN)
    page.goto("/accounts/preferences/")
    expect(page.locator("[data-notify-words]")).to_have_text("The browser does not notify you yet.")
    assert page.evaluate("() => window.asked") == 0, "never at load"
    page.get_by_role("button", name="Notify me").click()
    expect(page.locator("[data-notify-words]")).to_have_text("The browser notifies you.")
    assert page.evaluate("() => window.asked") == 1
    listens(page)
    page.evaluate("() => localStorage.setItem('test-seen', 'hidden')")
    finish(portal, "an owl on blue")
    page.wait_for_function("() => window.shown.length === 1", timeout=WAIT)
    shown = page.evaluate("() => window.shown[0]")
    assert (shown["title"], shown["body"]) == ("A picture is done", "“an owl on blue”")
    assert shown["icon"].endswith("/thumb.webp")
    expect(page.locator(".toast")).to_have_count(0)
    page.evaluate("() => localStorage.removeItem('test-seen')")
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".toast")).to_contain_text("an owl on blue")
    page.get_by_role("button", name="Stop notifying me").click()
    expect(page.locator("[data-notify-words]")).to_have_text("The browser does not notify you.")
