"""The nouns and colours of the starters' world: names, icons, synonyms.

The table is `nouns.csv`: name, icon in the Fluent Emoji set, other words for it. Its order is part of the
checkpoints (tile codes follow it), so new nouns are appended, never inserted. Must not read the icons themselves.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("nouns.csv")


@dataclass(frozen=True, slots=True)
class Noun:
    """One thing the world can show."""

    name: str
    icon: str
    synonyms: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Every way to say it, the plain name first."""
        return (self.name, *self.synonyms)


def read_nouns(path: Path = TABLE) -> tuple[Noun, ...]:
    with path.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return tuple(Noun(row["name"], row["icon"], tuple(filter(None, row["synonyms"].split("|")))) for row in rows)


NOUNS: tuple[Noun, ...] = read_nouns()
NOUN_BY_NAME: Mapping[str, Noun] = {noun.name: noun for noun in NOUNS}

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (24, 24, 28),
    "gray": (150, 152, 158),
    "red": (222, 62, 62),
    "orange": (245, 150, 50),
    "yellow": (250, 214, 80),
    "green": (92, 180, 92),
    "blue": (70, 130, 225),
    "purple": (150, 95, 205),
    "pink": (245, 160, 190),
    "brown": (140, 96, 66),
    "teal": (60, 178, 176),
}
COLOUR_WORDS: Mapping[str, tuple[str, ...]] = {
    "gray": ("gray", "grey"),
    "purple": ("purple", "violet"),
    "teal": ("teal", "turquoise"),
}
