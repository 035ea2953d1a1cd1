"""The memory ledger in a real browser, while a real room loads, draws, is unloaded and replaced. Nobody reloads it."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.test_journey import SLOW, ask, expect_state

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(900)]

Enter = Callable[..., Page]
NAME, TITLE = "starter-multimodal", "Starter Multimodal"


def row(page: Page) -> Locator:
    return page.locator("#ledger tr").filter(has_text=TITLE)


def press(page: Page, name: str) -> None:
    """A button of the panel, and the answer to it."""
    page.get_by_role("button", name=name).click()
    expect(page.get_by_text("between two requests.")).to_be_visible()


def test_an_operator_watches_memory_and_keeps_a_checkpoint_warm(enter: Enter) -> None:
    studio = enter("admin")
    page = studio.context.new_page()
    page.goto("/admin/generation/device/")
    page.locator("#result_list a[href*='/device/']").first.click()
    ledger = page.locator("#ledger")
    expect(ledger).to_contain_text(re.compile(r"Engine room \d+ on cpu"), timeout=SLOW)
    page.evaluate("window.same = true")
    expect_state(ask(studio, NAME), "completed")
    expect(row(page)).to_contain_text("on the device", timeout=SLOW)
    expect(row(page)).to_contain_text("fp32")
    assert page.evaluate("window.same"), "the panel followed by itself"

    page.locator(f"#ledger-keep-{NAME}").click()
    expect(page.locator(f"#ledger-keep-{NAME}")).to_have_attribute("aria-pressed", "true")
    press(page, "Unload all now")
    expect(row(page)).to_contain_text("not loaded", timeout=SLOW)
    press(page, "Replace the engine room now")
    expect(row(page)).to_contain_text("on the device", timeout=SLOW)
    expect(ledger).to_contain_text("an operator asked for it")
    expect(ledger).to_contain_text("0 since this engine room opened")

    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(f"#ledger-keep-{NAME}").click()
    expect(page.locator(f"#ledger-keep-{NAME}")).to_have_attribute("aria-pressed", "false")


def test_who_is_logged_out_is_told_once(enter: Enter) -> None:
    studio = enter("admin")
    page = studio.context.new_page()
    page.goto("/admin/generation/device/")
    page.locator("#result_list a[href*='/device/']").first.click()
    page.context.clear_cookies()
    expect(page.locator("#ledger")).to_contain_text("Log in again", timeout=SLOW)
