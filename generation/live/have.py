"""What a reader of the live store has already, and what the store may hold of one request."""

from collections.abc import Mapping
from typing import TypeVar

from generation.engines.fragments import Kind

BYTES_LIMIT = 64 * 1024 * 1024
# (kind, index of the picture) -> the first sequence number that is lacking
Have = Mapping[tuple[Kind, int], int]
Place = tuple[Kind, int, int]
"""Kind, index of the picture, sequence number."""

T = TypeVar("T")


def lacking(stored: Mapping[Place, T], have: Have, limit: int | None) -> list[T]:
    """In the order in which they are sent: fragments in theirs, then previews."""
    wanted = [place for place in stored if place[2] >= have.get(place[:2], 0)]
    wanted.sort(key=lambda place: (place[0] is Kind.PREVIEW, place[1], place[2]))
    return [stored[place] for place in wanted[:limit]]
