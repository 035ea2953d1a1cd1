"""The gallery by keyboard in a real browser: walk, delete, undo, one after the other, search, the endless grid."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.portal import Portal

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(600)]

Enter = Callable[..., Page]
FILL = """
from accounts.models import User
from generation.services import projects
from tests.generation import pictures
project = projects.project_create(user=User.objects.get(email="alice@example.org"), name="Keys")
for seed in range(60):
    prompt = f"picture {seed}" + " rare" * (seed % 20 == 0)
    pictures.image(project=project, seed=seed, width=32, height=32, prompt=prompt)
print(project.pk)
"""
PLACE = "[...document.querySelectorAll('#gallery > li:not([hidden]) a.picture')].indexOf(document.activeElement)"


@pytest.fixture(scope="module")
def address(portal: Portal) -> str:
    """Alice's project with 60 pictures, more than a page."""
    return f"/projects/{portal.manage('shell', '-v', '0', '-c', FILL).split()[-1]}/"


def place(page: Page) -> int:
    """Which picture of the grid has the focus; -1 for none."""
    return int(page.evaluate(PLACE))


def press_at(page: Page, prompt: str, key: str) -> None:
    """Press a key on the page of this picture, once its scripts run."""
    expect(page.locator(".image-prompt")).to_have_text(prompt)
    page.wait_for_load_state()
    page.keyboard.press(key)


def test_walk_delete_and_undo(enter: Enter, address: str) -> None:
    page = enter("alice")
    page.goto(address)
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert place(page) == 1
    page.keyboard.press("ArrowDown")
    assert place(page) > 2
    page.keyboard.press("Home")
    label = page.locator("#gallery img").first.get_attribute("alt")
    page.keyboard.press("Delete")
    expect(page.get_by_text("Moved to the trash.")).to_be_visible()
    expect(page.locator(".gallery-card:visible img").first).not_to_have_attribute("alt", label or "")
    page.wait_for_function(f"() => {PLACE} === 0")  # a bare expression would need eval
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".gallery-card:visible img").first).to_have_attribute("alt", label or "")
    page.wait_for_function(f"() => {PLACE} === 0")  # a bare expression would need eval
    expect(page.get_by_text("Moved to the trash.")).to_have_count(0)


def test_one_after_the_other_delete_and_undo(enter: Enter, address: str) -> None:
    page = enter("alice")
    page.goto(address)
    page.locator("#gallery a.picture").first.click()
    press_at(page, "picture 59", "ArrowRight")
    press_at(page, "picture 58", "ArrowLeft")
    press_at(page, "picture 59", "Delete")
    page.get_by_role("status").get_by_role("button", name="Undo").click()
    press_at(page, "picture 59", "Escape")
    page.wait_for_url(f"**{address}")


def test_the_grid_goes_on_and_search_narrows_it(enter: Enter, address: str) -> None:
    page = enter("alice")
    page.goto(address)
    pictures = page.locator(".gallery-card:visible")
    expect(pictures).to_have_count(48)
    page.keyboard.press("End")
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")  # the foot itself may be swapped meanwhile
    expect(pictures).to_have_count(60)
    page.keyboard.press("/")
    page.keyboard.type("rare")
    expect(pictures).to_have_count(3)
    expect(page).to_have_url(re.compile("q=rare"))
    pictures.first.get_by_role("link").click()
    press_at(page, "picture 40 rare", "ArrowRight")
    expect(page.locator(".image-prompt")).to_have_text("picture 20 rare")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
def test_no_page_is_wider_than_the_window(enter: Enter, address: str, width: int, scheme: str) -> None:
    page = enter("alice", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(address)
    picture = page.locator("#gallery a.picture").first.get_attribute("href")
    for place_to_go in (address, f"{address}trash/", f"{address}members/", f"{address}?q=nothing", picture or ""):
        page.goto(place_to_go)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{place_to_go} is {wide} px too wide at {width} px"
