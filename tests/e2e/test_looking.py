"""A person hands in a picture, has it described, edits it by instruction, and asks again from the gallery."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from generation.engines.base import CancelToken, Engine
from generation.engines.fragments import Words
from generation.engines.params import GenerationParams
from tests.generation.engines import tiny
from tests.generation.engines.drawing import draw, finals, loaded, pictures, png
from tests.portal import Portal

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(600)]

Enter = Callable[..., Page]
NAME, TITLE = "tiny-looking", "Tiny Looking"
SLOW = 240_000
EDGE, EDIT = 32, "a cat on white"
OFF = f"from generation.models import Checkpoint; Checkpoint.objects.filter(name={NAME!r}).update(enabled=False)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_looking(tmp_path_factory.mktemp("looking") / NAME)


@pytest.fixture(scope="module", autouse=True)
def checkpoint(portal: Portal, folder: Path) -> Iterator[None]:
    """Registered while this file runs; the other journeys know the starters only."""
    portal.manage("add_checkpoint", str(folder), "--name", NAME, "--title", TITLE)
    yield
    portal.manage("shell", "-v", "0", "-c", OFF)


def answer_to(engine: Engine, picture: bytes) -> str:
    """What the engine itself says."""
    params = GenerationParams("", EDGE, EDGE, 0, capability="describe", source=picture)
    return [item.text for item in engine.generate(params, CancelToken()) if isinstance(item, Words) and item.final][0]


def telling_edit(engine: Engine, picture: bytes) -> tuple[int, str]:
    """A seed whose edited picture the random network has words for, and those."""
    for seed in range(20):
        [final] = finals(draw(engine, EDGE, prompt=EDIT, seed=seed, capability="edit", source=picture))
        if words := answer_to(engine, png(final.pixels)):
            return seed, words
    raise AssertionError("The network has words for none of its own pictures.")


def new_card(page: Page, act: Callable[[], None]) -> Locator:
    """The card that comes of it, once it is done."""
    known = {card.get_attribute("data-request") for card in page.locator("[data-request]").all()}
    act()
    page.wait_for_function("known => document.querySelectorAll('[data-request]').length > known", arg=len(known))
    now = [card.get_attribute("data-request") for card in page.locator("[data-request]").all()]
    (key,) = [key for key in now if key not in known]
    card = page.locator(f"[data-request='{key}']")
    expect(card).to_have_attribute("data-state", "completed", timeout=SLOW)
    return card


def test_describe_and_edit(enter: Enter, folder: Path) -> None:
    picture = png(pictures()[0])
    engine = loaded(folder, "multimodal")
    expected, (seed, told) = answer_to(engine, picture), telling_edit(engine, picture)
    assert expected
    page = enter("alice")
    page.locator(f"input[name=checkpoint][value={NAME}]").check(force=True)
    expect(page.get_by_text("the prompt says what shall change")).to_be_visible()
    page.locator("#id_source_file").set_input_files({"name": "cat.png", "mimeType": "image/png", "buffer": picture})
    expect(page.get_by_placeholder("What shall change?")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("[data-settings-summary]")).to_have_text(re.compile("With your picture"))
    assert page.locator(".prompt-card").evaluate("card => card.getBoundingClientRect().right") <= 390, (
        "the long summary is clipped"
    )
    page.set_viewport_size({"width": 1440, "height": 900})

    described = new_card(page, lambda: page.get_by_role("button", name="Describe", exact=True).click())
    expect(described.locator("[data-request-answer]")).to_have_text(expected)
    expect(described.get_by_role("img", name="The picture you handed in")).to_be_visible()

    page.get_by_placeholder("What shall change?").fill(EDIT)
    page.locator("#id_seed").fill(str(seed))
    edited = new_card(page, lambda: page.get_by_role("button", name="Draw", exact=True).click())
    expect(edited).to_contain_text("edits a picture")
    result = edited.locator("img").first
    expect(result).to_be_visible(timeout=SLOW)
    assert result.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [32, 32]

    edited.locator("[data-picture-link]").first.click()
    page.wait_for_url(re.compile("/images/"))
    address = page.url
    expect(page.get_by_role("heading", name="Instruction")).to_be_visible()
    page.get_by_role("button", name="Describe", exact=True).click()
    page.wait_for_url(re.compile(r"/$"))
    first = page.locator("[data-request][data-capability=describe]").first
    expect(first).to_have_attribute("data-state", "completed", timeout=SLOW)
    expect(first.get_by_role("link", name=EDIT)).to_have_attribute("href", re.compile("/images/"))
    expect(first.locator("[data-request-answer]")).to_have_text(told)
    page.goto(address)
    expect(page.get_by_role("heading", name="Description")).to_be_visible()
    expect(page.get_by_text(told, exact=True)).to_be_visible()
    page.goto("/history/")
    expect(page.get_by_text(expected, exact=True)).to_be_visible()

    row = page.locator("article.history-row", has_text=expected).first
    key = (row.get_attribute("id") or "").removeprefix("request-")
    stranger = enter("charlie")
    assert stranger.request.get(f"/requests/{key}/card/").status == 404
    stranger.goto("/history/")
    expect(stranger.get_by_text(expected, exact=True)).to_have_count(0)
