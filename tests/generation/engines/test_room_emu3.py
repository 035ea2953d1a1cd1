"""Emu3 through a real room: drawn, shown again from its codes, and asked about what it drew."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from generation.engines.client import RoomClient
from generation.engines.codes import unpack_codes
from generation.engines.params import CheckpointSpec, GenerationParams
from tests.generation.engines.rooms import SETTINGS, draw
from tests.generation.engines.tiny_emu3 import save_emu3

pytestmark = pytest.mark.processes

WIDE, HIGH = 64, 48


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    with RoomClient(SETTINGS) as client:
        yield client


def test_a_room_draws_describes_and_draws_again(room: RoomClient, tmp_path: Path) -> None:
    spec = CheckpointSpec("tiny-emu3", str(save_emu3(tmp_path / "both")), "multimodal")
    found = draw(room, spec, GenerationParams("a cat", WIDE, HIGH, 7, count=2))
    assert len(found.fragments) == 2 * HIGH // 8 and len(found.finals) == 2
    first = found.finals[0]
    again = draw(room, spec, GenerationParams("a cat", WIDE, HIGH, 7, codes=unpack_codes(first.codes))).finals
    assert [final.data for final in again] == [first.data]
    asked = GenerationParams("", WIDE, HIGH, 7, source=first.data, capability="describe")
    said = draw(room, spec, asked).words
    assert len(said) > 1 and [words.final for words in said] == [*[False] * (len(said) - 1), True]
