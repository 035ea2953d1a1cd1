"""Signed downloads in a real browser: what is saved verifies; what cannot be signed is told, and mended as it runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from generation.engines.certificates import Certificates
from tests.generation.signatures import TRUSTED, certificates, put, told
from tests.portal import EMAIL, PASSWORD, Portal

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(600)]

FILL = """
from accounts.models import User
from generation.services.projects import project_personal
from tests.generation import pictures
project = project_personal(User.objects.get())
parent = pictures.image(project=project, seed=1, width=96, height=96)
recipe = {"prompt": "now red", "capability": "edit", "source_image": str(parent.pk)}
print(pictures.image(project=project, seed=2, width=96, height=96, prompt="now red", recipe=recipe).pk)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificates, Path, Path]:
    """A certificate, and where it and its key lie."""
    made = certificates()
    return (made, *put(tmp_path_factory.mktemp("c2pa"), made))


@pytest.fixture(scope="module")
def signing_portal(
    tmp_path_factory: pytest.TempPathFactory, chromium_path: str, made: tuple[Certificates, Path, Path]
) -> Iterator[Portal]:
    """A portal that signs."""
    settings = {"TESSERA_C2PA_CERTIFICATE": str(made[1]), "TESSERA_C2PA_KEY": str(made[2])}
    running = Portal(tmp_path_factory.mktemp("signing") / "data", settings=settings).start()
    yield running
    running.stop()


@pytest.fixture
def page(chromium: Browser, signing_portal: Portal) -> Iterator[Page]:
    """The administrator at the page of an edit."""
    image = signing_portal.manage("shell", "-v", "0", "-c", FILL).split()[-1]
    context = chromium.new_context(base_url=signing_portal.url)
    page = context.new_page()
    page.goto("/")
    page.get_by_label(re.compile("E-?mail")).fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name=re.compile("Log in|Sign in", re.IGNORECASE)).click()
    page.wait_for_url("**/")
    page.goto(f"/images/{image}/")
    yield page
    context.close()


def test_a_saved_picture_verifies_and_a_failure_is_told(page: Page, made: tuple[Certificates, Path, Path]) -> None:
    expect(page.get_by_text("the download is signed (C2PA)")).to_be_visible()
    for button, recipe in (("Download", True), ("Without recipe", False)):
        with page.expect_download() as saved:
            page.get_by_role("link", name=button, exact=True).click()
        data = saved.value.path().read_bytes()
        said = told(data, anchor=made[0].anchor)
        assert (said.state, len(said.manifests), said.recipe is not None) == (TRUSTED, 2, recipe)
    away = made[2].rename(made[2].with_suffix(".away"))
    page.get_by_role("link", name="Download", exact=True).click()
    expect(page.get_by_role("heading", name="This picture could not be signed")).to_be_visible()
    page.get_by_role("link", name="Back to the picture").click()
    away.rename(made[2])
    with page.expect_download():
        page.get_by_role("link", name="Download", exact=True).click()
