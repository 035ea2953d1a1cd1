"""A person's way through the portal: log in, draw with both families, reload, cancel, remix, delete, undo."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.portal import Portal

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(600)]

Enter = Callable[..., Page]
PROMPT = "a cat left of a pizza on blue"
SLOW = 240_000
# Notes how many paints a canvas had when its final picture came, for cards are swapped at the end.
WATCH = """
window.paintsBeforeEnd = {};
new MutationObserver((changes) => {
  for (const { target } of changes) {
    const card = target.closest("[data-request]");
    if (!target.matches("canvas") || !card) continue;
    const key = `${card.dataset.request}/${target.dataset.index}`;
    if (!target.dataset.final) window.paintsBeforeEnd[key] = Number(target.dataset.paints ?? 0);
  }
}).observe(document.documentElement, { subtree: true, attributes: true,
  attributeFilter: ["data-paints", "data-final"] });
"""


def ask(
    page: Page, checkpoint: str, prompt: str = PROMPT, *, count: int = 1, seed: str = "", steps: str = ""
) -> Locator:
    """Fill the form and press Draw; gives the new card."""
    known = set(cards(page))
    page.get_by_label("What do you want to see?").fill(prompt)
    page.locator(f"input[name=checkpoint][value={checkpoint}]").check(force=True)
    page.locator(f"input[name=count][value='{count}']").check(force=True)
    page.locator("#id_seed").fill(seed)
    if steps:
        page.locator("details[data-advanced] > summary").click()
        page.locator("#id_steps").fill(steps)
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_function("known => document.querySelectorAll('[data-request]').length > known", arg=len(known))
    (new,) = set(cards(page)) - known
    return page.locator(f"[data-request='{new}']")


def cards(page: Page) -> list[str]:
    return page.eval_on_selector_all("[data-request]", "all => all.map(card => card.dataset.request)")


def paints(page: Page, card: Locator, index: int = 0) -> int:
    key = f"{card.get_attribute('data-request')}/{index}"
    return int(page.evaluate("key => window.paintsBeforeEnd[key] ?? 0", key))


def expect_state(card: Locator, state: str) -> None:
    expect(card).to_have_attribute("data-state", state, timeout=SLOW)


@pytest.mark.parametrize(("checkpoint", "least"), [("starter-multimodal", 8), ("starter-diffusion", 4)])
def test_a_picture_appears_piece_by_piece(enter: Enter, checkpoint: str, least: int) -> None:
    page = enter("alice")
    page.evaluate(WATCH)
    card = ask(page, checkpoint, seed="7")
    expect_state(card, "completed")
    assert paints(page, card) >= least
    # The card was swapped for the finished one: a real picture, as large as asked for.
    picture = card.locator("img").first
    expect(picture).to_be_visible(timeout=SLOW)
    assert picture.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [128, 128]
    assert colours(picture) > 8


def colours(picture: Locator) -> int:
    """How many different colours a picture has: a blank one has one."""
    script = """img => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
      const context = canvas.getContext("2d");
      context.drawImage(img, 0, 0);
      return new Set(new Uint32Array(context.getImageData(0, 0, 128, 128).data.buffer)).size;
    }"""
    return int(picture.evaluate(script))


def test_a_reload_in_mid_picture_goes_on(enter: Enter) -> None:
    page = enter("alice")
    card = ask(page, "starter-multimodal", count=4, seed="11")
    expect(card.locator("canvas[data-index='1'][data-paints]")).to_have_count(1, timeout=SLOW)
    page.reload()
    page.evaluate(WATCH)
    # What was drawn before the reload is there again, and the rest still comes live.
    expect(card.locator("canvas[data-index='0'][data-paints]").or_(card.locator("img").first).first).to_be_visible(
        timeout=SLOW
    )
    expect_state(card, "completed")
    assert paints(page, card, index=3) >= 1
    expect(card.locator("img")).to_have_count(4, timeout=SLOW)


def test_cancel_running_and_queued(enter: Enter) -> None:
    page = enter("alice")
    running = ask(page, "starter-diffusion", count=4, steps="100")
    queued = ask(page, "starter-diffusion", prompt="a dog on red")
    expect(queued.locator("[data-request-position]")).to_be_visible(timeout=SLOW)
    queued.get_by_role("button", name="Cancel").click()
    expect_state(queued, "canceled")
    expect(running.locator("canvas[data-paints]").first).to_be_visible(timeout=SLOW)
    running.get_by_role("button", name="Cancel").click()
    expect_state(running, "canceled")


def test_the_keyboard_keeps_its_place_when_a_card_is_swapped(enter: Enter) -> None:
    here = """id => document.activeElement.matches("a[href], button")
      && document.activeElement.closest("[data-request]")?.dataset.request === id"""
    page = enter("alice")
    card = ask(page, "starter-diffusion", count=4, steps="100")
    expect(card.locator("canvas[data-paints]").first).to_be_visible(timeout=SLOW)
    card.get_by_role("button", name="Cancel").press("Enter")
    expect_state(card, "canceled")
    expect(card.get_by_role("button", name="Try again")).to_be_visible()
    page.wait_for_function(here, arg=card.get_attribute("data-request"), timeout=30_000)
    # Whoever is elsewhere by then is left there.
    other = ask(page, "starter-diffusion", seed="3")
    other.get_by_role("button", name="Cancel").focus()
    page.get_by_label("What do you want to see?").focus()
    expect(other.locator("img").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_label("What do you want to see?")).to_be_focused()


def test_remix_delete_and_undo(enter: Enter) -> None:
    page = enter("alice")
    card = ask(page, "starter-multimodal", prompt="a dog on green", seed="23")
    expect_state(card, "completed")
    card.get_by_role("link", name="Remix").click()
    expect(page.get_by_label("What do you want to see?")).to_have_value("a dog on green")
    expect(page.locator("#id_seed")).to_have_value("23")
    expect(page.locator("input[name=checkpoint][value=starter-multimodal]")).to_be_checked()

    page.goto("/projects/")
    page.get_by_role("link", name=re.compile("Personal|Alice", re.I)).first.click()
    pictures = page.locator(".gallery-card:visible")
    expect(pictures.first).to_be_visible()
    before = pictures.count()
    pictures.first.hover()
    pictures.first.get_by_role("button", name=re.compile("Delete|trash", re.I)).click()
    expect(pictures).to_have_count(before - 1)
    page.get_by_role("button", name="Undo").click()
    expect(pictures).to_have_count(before)


def test_a_stranger_sees_none_of_it(enter: Enter) -> None:
    alice = enter("alice")
    card = ask(alice, "starter-multimodal", prompt="a fox on white")
    expect_state(card, "completed")
    picture = card.locator("img").first.get_attribute("src")
    charlie = enter("charlie")
    heard: list[Any] = []
    charlie.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(frame)))
    charlie.reload()
    expect(charlie.locator("[data-request]")).to_have_count(0)
    assert picture is not None
    assert charlie.request.get(picture).status == 404
    again = ask(alice, "starter-multimodal", prompt="a secret fox on white")
    expect_state(again, "completed")
    assert not any("fox" in str(frame) for frame in heard)
    assert charlie.locator("[data-request]").count() == 0


def test_logging_out_closes_the_socket_of_every_tab(enter: Enter) -> None:
    page = enter("alice")
    other = page.context.new_page()
    other.goto("/")
    expect(other.locator("[data-stream-connection]")).to_be_hidden(timeout=SLOW)
    page.goto("/accounts/logout/")
    page.locator("main").get_by_role("button").first.click()
    expect(other.locator("[data-stream-connection]")).to_have_attribute("data-state", "closed", timeout=SLOW)


def test_what_was_typed_survives_an_error(enter: Enter, portal: Portal) -> None:
    page = enter("alice")
    page.get_by_label("What do you want to see?").fill("x" * 4001)
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#error-prompt")).to_contain_text("4001")
    page.set_viewport_size({"width": 390, "height": 844})
    # As if much had been drawn below, to which a page that took the wish would scroll.
    page.locator("#requests").evaluate("below => { below.style.display = 'block'; below.style.minHeight = '300vh'; }")
    page.locator("#studio-errors > *").evaluate("words => words.remove()")
    with page.expect_response("**/requests/new/"):
        page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#studio-errors")).to_contain_text("This was not sent.")
    expect(page.locator("#studio-errors")).to_be_in_viewport()
    expect(page.get_by_label("What do you want to see?")).to_have_value("x" * 4001)


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")])
def test_no_page_is_wider_than_the_window(enter: Enter, width: int, scheme: str) -> None:
    page = enter("alice", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    for address in (
        "/",
        "/history/",
        "/projects/",
        "/projects/new/",
        "/accounts/activity/",
        "/accounts/password/change/",
    ):
        page.goto(address)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address} is {wide} px too wide at {width} px"
