"""Finds a Chromium for the browser tests: an installed one, else Playwright's own, else Debian's package for root."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HINT = (
    "No Chromium is here, so the browser tests are NOT RUN. Install one (Debian: apt install chromium) "
    "or name it in TESSERA_CHROMIUM, then run make test again."
)
# Without these a Chromium looks up addresses of its own at every start.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def installed() -> str | None:
    """The path of a Chromium that is here, without fetching anything."""
    if named := os.environ.get("TESSERA_CHROMIUM"):
        return shutil.which(named)
    return next((found for name in NAMES if (found := shutil.which(name))), None) or _playwright_own()


def needed() -> str:
    """`installed` for a test: without one it is reported as not run, or fails where a browser is required."""
    import pytest

    if path := installed():
        return path
    if os.environ.get("TESSERA_REQUIRE_BROWSER"):
        pytest.fail(HINT)
    pytest.skip("not run: no Chromium")


def _playwright_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def prepare() -> str | None:
    """Fetch one where that is possible."""
    if found := installed():
        return found
    if _quiet([sys.executable, "-m", "playwright", "install", "chromium"], seconds=240) and (
        found := _playwright_own()
    ):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _quiet(["apt-get", "update", "-qq"], seconds=240)
        _quiet(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], seconds=600)
    return installed()


def _quiet(command: list[str], *, seconds: int) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> int:
    """`python -m tests.browser --prepare`: says in one line what the browser tests will use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="fetch one if none is here")
    found = prepare() if parser.parse_args().prepare else installed()
    sys.stdout.write(f"Browser tests use {found}\n" if found else f"{HINT}\n")
    return 1 if found is None and os.environ.get("TESSERA_REQUIRE_BROWSER") else 0


if __name__ == "__main__":
    sys.exit(main())
