"""Which licence a checkpoint's own papers state. Read for people; nothing is decided by it. No torch."""

import re
from collections.abc import Iterable
from pathlib import Path

from generation.engines.checkpoint_files import WEIGHTS
from generation.engines.reading import reading
from generation.engines.safetensors_header import read_header

CARD = "README.md"
PAPERS = ("LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "LICENCE.md", "LICENCE.txt")
MOST_BYTES = 64 * 1024  # front matter stands at the beginning
MOST_LETTERS = 120
ENTRY = re.compile(r"^(license|license_name|license_link):[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def licence_of(path: Path) -> str:
    """As a single file says of itself, else as the model card's front matter says, else the first line of the licence
    file; empty when none tells.
    """
    folder = path if path.is_dir() else path.parent
    return _from_metadata(path) or _from_card(folder / CARD) or _first_line(folder / name for name in PAPERS)


def _from_metadata(path: Path) -> str:
    """Of one safetensors file, in the words of the ModelSpec standard."""
    if path.suffix != WEIGHTS or not path.is_file():
        return ""
    with reading(path.name):
        return _clean(read_header(path).metadata.get("modelspec.license", ""))


def _from_card(file: Path) -> str:
    parts = _beginning(file).lstrip("\ufeff").split("\n---", 1)
    if not parts[0].startswith("---"):
        return ""
    found = {name: value.strip("'\"") for name, value in ENTRY.findall(parts[0])}
    name, link = found.get("license", ""), found.get("license_link", "")
    if name == "other" and "license_name" in found:
        name = found["license_name"] + (f" ({link})" if link else "")
    return _clean(name)


def _first_line(files: Iterable[Path]) -> str:
    for file in files:
        for line in _beginning(file).splitlines():
            if words := _clean(line.strip(" #*")):
                return words
    return ""


def _beginning(file: Path) -> str:
    """Empty for what is not there or no ordinary file."""
    if not file.is_file() or file.is_symlink():
        return ""
    with reading(file.name), file.open("rb") as stream:
        return stream.read(MOST_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")


def _clean(text: str) -> str:
    """One short line of printable letters, for a terminal and a page."""
    return "".join(letter for letter in text if letter.isprintable()).strip()[:MOST_LETTERS]
