"""The design keeps its word: readable in both themes, nothing inline, no colour outside the tokens."""

import re
from pathlib import Path

import pytest

from core.templatetags.design import initials, span
from tests.conftest import ROOT

STATIC = ROOT / "platform" / "core" / "static" / "core"
TOKENS = dict(
    re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (?:#[0-9a-f]{6})\)", (STATIC / "tokens.css").read_text())
)
DARK = dict(re.findall(r"--([\w-]+): light-dark\(#[0-9a-f]{6}, (#[0-9a-f]{6})\)", (STATIC / "tokens.css").read_text()))
PAPERS = ("paper", "surface", "raised", "sunk", "hover")
TEXT = [(ink, paper) for ink in ("ink", "ink-soft", "ink-faint", "accent") for paper in PAPERS]
SOFT = [(f"{name}-soft-ink", f"{name}-soft") for name in ("accent", "bad", "warn", "good", "busy")]
PAIRS = [*TEXT, *SOFT, ("accent-ink", "accent"), ("accent-ink", "accent-strong"), ("bad", "surface"), ("bad", "paper")]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [TOKENS, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_words_can_be_read(colours: dict[str, str], pair: tuple[str, str]) -> None:
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 4.5


@pytest.mark.parametrize("colours", [TOKENS, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "surface", "raised"])
def test_edges_of_controls_and_the_focus_can_be_seen(colours: dict[str, str], paper: str) -> None:
    assert contrast(colours["line-strong"], colours[paper]) >= 3
    assert contrast(colours["focus"], colours[paper]) >= 3


def pages() -> list[Path]:
    return [page for page in (ROOT / "templates").rglob("*.html") if "admin" not in page.parts]


def test_templates_obey_the_content_security_policy() -> None:
    bad = re.compile(r"\sstyle=|\son[a-z]+=|hx-on|<style|<script(?![^>]*\bsrc=)", re.IGNORECASE)
    assert [str(page) for page in pages() if bad.search(page.read_text())] == []


def test_icons_that_are_used_exist() -> None:
    known = set(re.findall(r'<symbol id="([\w-]+)"', (STATIC / "icons.svg").read_text()))
    used = {name for page in pages() for name in re.findall(r'{% icon "([\w-]+)" %}', page.read_text())}
    assert used <= known


def test_colours_come_from_the_tokens() -> None:
    sheets = [*STATIC.glob("*.css"), *(ROOT / "generation" / "static").rglob("*.css")]
    raw = re.compile(r"^(?!.*light-dark\().*#[0-9a-f]{3,8}\b", re.IGNORECASE | re.MULTILINE)
    found = {sheet.name: raw.findall(sheet.read_text()) for sheet in sheets if sheet.name != "tokens.css"}
    assert {name: lines for name, lines in found.items() if any("{" not in line for line in lines)} == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "not measured yet"), (0.4, "under 1 s"), (6.4, "6 s"), (75, "1 min 15 s"), (120, "2 min"), (700, "11 min")],
)
def test_span(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("name", "letters"), [("Alice Adams", "AA"), ("bob@example.org", "b"), ("", "?"), ("x.y@z.org", "xy")]
)
def test_initials(name: str, letters: str) -> None:
    assert initials(name) == letters
