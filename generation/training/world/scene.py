"""A scene: what a picture shows, as data. The truth that captions and pictures are both made from.

Must not know pixels of icons or words of captions; it only says which noun stands where, in tiles.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TILE = 16
ROWS = COLUMNS = 8
CANVAS = TILE * ROWS

Relation = Literal["left of", "right of", "above", "below"]
Size = Literal["large", "small"]
RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")
INVERSE: Mapping[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}

TILES: Mapping[Size, int] = {"large": 6, "small": 4}  # side of an icon, in tiles
LARGE_CORNER = (1, 1)
SMALL_CORNER = (2, 2)
# (row, column) of the first and of the second icon: always whole tiles, so that one icon is always the same tiles
PAIR_CORNERS: Mapping[Relation, tuple[tuple[int, int], tuple[int, int]]] = {
    "left of": ((2, 0), (2, 4)),
    "right of": ((2, 4), (2, 0)),
    "above": ((0, 2), (4, 2)),
    "below": ((4, 2), (0, 2)),
}


@dataclass(frozen=True, slots=True)
class Placed:
    """One icon on the canvas; the corner counts tiles."""

    noun: str
    size: Size
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Scene:
    """`first` alone, or `first` `relation` `second`, on a ground colour. `size` only speaks of a lone object."""

    first: str
    ground: str
    second: str | None = None
    relation: Relation | None = None
    size: Size = "large"

    def __post_init__(self) -> None:
        if (self.second is None) != (self.relation is None):
            raise ValueError("A second object needs a relation, and a relation a second object.")

    @property
    def nouns(self) -> tuple[str, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def places(self) -> tuple[Placed, ...]:
        """Where each noun stands, in the order of `nouns`."""
        if self.second is None or self.relation is None:
            corner = LARGE_CORNER if self.size == "large" else SMALL_CORNER
            return (Placed(self.first, self.size, *corner),)
        one, two = PAIR_CORNERS[self.relation]
        return (Placed(self.first, "small", *one), Placed(self.second, "small", *two))

    def reversed(self) -> "Scene":
        """The same picture, told from the other object."""
        if self.second is None or self.relation is None:
            return self
        return Scene(self.second, self.ground, self.first, INVERSE[self.relation])
