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
Spot = Literal["left", "right", "top", "bottom"]
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
# Where the first and the second of a pair stand, so that one of them may stay there when the other goes
PAIR_SPOTS: Mapping[Relation, tuple[Spot, Spot]] = {
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}
SPOT_CORNERS: Mapping[Spot, tuple[int, int]] = {
    spot: corner
    for relation in RELATIONS
    for spot, corner in zip(PAIR_SPOTS[relation], PAIR_CORNERS[relation], strict=True)
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
    """`first` alone, or `first` `relation` `second`, on a ground colour. `size` and `spot` only speak of a lone object.

    A lone object stands in the middle, or, small, at the `spot` where one of a pair would stand.
    """

    first: str
    ground: str
    second: str | None = None
    relation: Relation | None = None
    size: Size = "large"
    spot: Spot | None = None

    def __post_init__(self) -> None:
        if (self.second is None) != (self.relation is None):
            raise ValueError("A second object needs a relation, and a relation a second object.")
        if self.spot is not None and (self.second is not None or self.size != "small"):
            raise ValueError("Only a lone small object stands at a spot.")

    @property
    def nouns(self) -> tuple[str, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)

    @property
    def places(self) -> tuple[Placed, ...]:
        """Where each noun stands, in the order of `nouns`."""
        if self.second is None or self.relation is None:
            middle = LARGE_CORNER if self.size == "large" else SMALL_CORNER
            corner = middle if self.spot is None else SPOT_CORNERS[self.spot]
            return (Placed(self.first, self.size, *corner),)
        one, two = PAIR_CORNERS[self.relation]
        return (Placed(self.first, "small", *one), Placed(self.second, "small", *two))

    def reversed(self) -> "Scene":
        """The same picture, told from the other object."""
        if self.second is None or self.relation is None:
            return self
        return Scene(self.second, self.ground, self.first, INVERSE[self.relation])

    def canonical(self) -> "Scene":
        """The same picture, told from the left or the upper object."""
        return self.reversed() if self.relation in ("right of", "below") else self

    def without_second(self) -> "Scene":
        """The first of a pair, left alone where it stands."""
        if self.relation is None:
            raise ValueError("There is no second object to take away.")
        return Scene(self.first, self.ground, size="small", spot=PAIR_SPOTS[self.relation][0])
