"""The README's pictures, taken from a running portal: `make screenshots`. Writes docs/screenshots/, judges nothing."""

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import ARGUMENTS, HINT, installed
from tests.portal import EMAIL, PASSWORD, ROOT, Portal

FOLDER = ROOT / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 800}
DIFFUSION, MULTIMODAL = "starter-diffusion", "starter-multimodal"
GALLERY = (
    (MULTIMODAL, "a cat left of a pizza on blue"),
    (MULTIMODAL, "an owl above a cake on purple"),
    (DIFFUSION, "sunflower on gray"),
    (MULTIMODAL, "a rocket on black"),
    (MULTIMODAL, "a penguin right of a snowman on teal"),
    (DIFFUSION, "red apple on white"),
    (MULTIMODAL, "castle on yellow"),
    (MULTIMODAL, "a dog below an umbrella on green"),
)
WAIT = 120_000
HALF = """request => {
  const canvas = document.querySelector(`[data-request="${request}"] canvas[data-index="1"]`);
  return Number(canvas?.dataset.paints ?? 0) >= 5;
}"""


def ask(page: Page, checkpoint: str, prompt: str, *, count: int = 1) -> str:
    """Press Draw as a person would; gives the request's id."""
    known = page.locator("[data-request]").count()
    page.get_by_label("What do you want to see?").fill(prompt)
    page.locator(f"input[name=checkpoint][value={checkpoint}]").check(force=True)
    page.locator(f"input[name=count][value='{count}']").check(force=True)
    page.locator("#id_seed").fill("7")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_function("known => document.querySelectorAll('[data-request]').length > known", arg=known)
    return page.locator("[data-request]").first.get_attribute("data-request") or ""


def wait_until_done(page: Page, request: str) -> None:
    page.locator(f"[data-request='{request}'][data-state=completed]").wait_for(timeout=WAIT)


def enter(browser: Browser, portal: Portal, scheme: str) -> Page:
    """A logged-in page."""
    page = browser.new_context(base_url=portal.url, viewport=SIZE, color_scheme=scheme).new_page()
    page.goto("/")
    page.get_by_label(re.compile("E-?mail")).fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name=re.compile("Log in|Sign in", re.I)).click()
    page.locator("#studio-form").wait_for()
    return page


def shoot(page: Page, name: str) -> None:
    page.wait_for_timeout(400)  # fonts and transitions
    page.screenshot(path=FOLDER / f"{name}.png")


def studio(page: Page, portal: Portal) -> None:
    """Two pictures of one request, the second half there, and one request waiting. The room is held for the picture."""
    (room,) = [process for process in portal.family() if "generation.engines.room" in process.cmdline()]
    last = ask(page, MULTIMODAL, "a parrot left of a cactus on orange", count=2)
    page.wait_for_function(HALF, arg=last, timeout=WAIT, polling=10)
    room.suspend()
    ask(page, DIFFUSION, "a fox on white")
    page.wait_for_timeout(600)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=FOLDER / "studio.png")
    room.resume()
    wait_until_done(page, last)


def main() -> int:
    """All of them, from a portal of its own."""
    path = installed()
    if path is None:
        sys.stdout.write(f"{HINT}\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        portal = Portal(Path(place) / "data", settings={"TESSERA_THREADS": "1"}).start()
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            page = enter(browser, portal, "light")
            for checkpoint, prompt in GALLERY:
                wait_until_done(page, ask(page, checkpoint, prompt))
            studio(page, portal)
            page.goto("/projects/")
            page.get_by_role("link", name="Personal").first.click()
            shoot(page, "gallery")
            page.goto("/admin/generation/generationrequest/")
            shoot(page, "admin")
        finally:
            browser.close()
            portal.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
