"""GLM-Image through a real room: drawn, edited, canceled in mid-codes, and swapped for another checkpoint."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError
from generation.engines.fragments import LOADED, PURGED
from generation.engines.limits import Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment
from tests.generation.engines.drawing import png
from tests.generation.engines.rooms import SETTINGS, draw, wish

pytestmark = pytest.mark.processes

PICTURE = png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    """With a place for one checkpoint on the device."""
    with RoomClient(replace(SETTINGS, limits=Limits(most=1))) as client:
        yield client


@pytest.fixture(scope="module")
def spec(glm_image_folder: Path) -> CheckpointSpec:
    return CheckpointSpec("tiny-glm-image", str(glm_image_folder), "multimodal")


def test_it_draws_edits_and_gives_way(room: RoomClient, spec: CheckpointSpec, mosaic_folder: Path) -> None:
    room.unload()
    drawn = draw(room, spec, wish(edge=64))
    assert LOADED in [note.kind for note in drawn.notes]
    assert [(final.width, final.height, final.seed) for final in drawn.finals] == [(64, 64, 7)]
    assert len(drawn.fragments) >= 5
    assert {(shown.canvas_width, shown.canvas_height) for shown in drawn.fragments} == {(64, 64)}

    params = GenerationParams("make it blue", 96, 64, 7, capability="edit", source=PICTURE)
    edited = [draw(room, spec, params) for _ in range(2)]
    assert edited[0].finals[0].data == edited[1].finals[0].data
    assert edited[0].figures[0].precision == "fp32"

    other = draw(room, CheckpointSpec("tiny-mosaic", str(mosaic_folder), "multimodal"), wish())
    [purge] = [note for note in other.notes if note.kind == PURGED]
    assert purge.message == "Laid aside tiny-glm-image: tiny-mosaic is asked for"
    assert len(other.finals) == 1


def test_a_cancel_is_heard_between_two_codes(room: RoomClient, spec: CheckpointSpec) -> None:
    replies = room.generate(spec, wish(edge=64, count=4, steps=150))
    next(reply for reply in replies if isinstance(reply, EncodedFragment))  # the draft is there, the codes go on
    threading.Thread(target=room.cancel).start()
    with pytest.raises(CanceledError):
        list(replies)
    assert len(draw(room, spec, wish(edge=64)).finals) == 1
