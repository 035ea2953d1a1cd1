"""Memory in a real room: a limit set by the system is met, stepped down from and survived; what is idle goes."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from generation.engines.client import RoomClient, RoomSettings
from generation.engines.errors import DeviceMemoryError
from generation.engines.footprint import Footprint
from generation.engines.limits import Limits
from generation.engines.params import CheckpointSpec, GenerationParams
from tests.generation.engines import tiny
from tests.generation.engines.rooms import PATIENCE, SETTINGS, draw, stand_in, wish

pytestmark = pytest.mark.processes

SMALL, LARGE, HUGE = 128, 1024, 2048
UNKNOWN = Footprint().to_dict()  # of which nothing is foreseen
# reads all code first, then lets this process map so many megabytes more
LIMITED = """
import resource
import diffusers, psutil
from generation.engines import attempts, diffusion, room
diffusers.StableDiffusionPipeline, diffusers.DDIMScheduler
import transformers
transformers.CLIPTextModel, transformers.PreTrainedTokenizerFast
limit = psutil.Process().memory_info().vms + {megabytes} * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
room.main()
"""
RESTLESS = "from generation.engines import room\nroom.REST_SECONDS = 0.2\nroom.main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that needs over 300 MB to decode a megapixel whole, and a tenth of that in tiles."""
    place = tmp_path_factory.mktemp("megapixel")
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(24, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
            sample_size=SMALL,
        ),
        text_encoder=CLIPTextModel(tiny.text_config()),
        tokenizer=tiny.tokenizer(16, end=True),
        unet=UNet2DConditionModel(
            sample_size=SMALL // 4,
            block_out_channels=(4, 4, 8),
            norm_num_groups=4,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(place)
    (place / "tessera.json").write_text(
        json.dumps({"sizes": [[edge, edge] for edge in (SMALL, LARGE, HUGE)]}), encoding="utf-8"
    )
    return place


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[int], RoomClient]]:
    """Opens a room that can map so many megabytes more than its code takes."""
    rooms: list[RoomClient] = []
    python = sys.executable

    def open_room(megabytes: int) -> RoomClient:
        monkeypatch.setattr(sys, "executable", python)  # not the stand-in of the room before
        stand_in(monkeypatch, tmp_path, LIMITED.format(megabytes=megabytes))
        rooms.append(RoomClient(SETTINGS))
        return rooms[-1]

    yield open_room
    for room in rooms:
        room.close()


def square(edge: int) -> GenerationParams:
    return GenerationParams("a cat", edge, edge, 7, steps=1)


def test_a_limit_that_is_met_is_stepped_down_from(limited: Callable[[int], RoomClient], folder: Path) -> None:
    """Nothing is foreseen, so memory really runs out. The next wish of that size begins where this one ended."""
    room, spec = limited(300), CheckpointSpec("megapixel", str(folder), "diffusion", footprint=UNKNOWN)
    drawn = draw(room, spec, square(LARGE))
    retries = [note.detail["memory"] for note in drawn.notes if note.kind == "memory.retry"]
    assert drawn.figures[0].memory == drawn.finals[0].memory == retries[-1]
    assert retries == ["sliced", "tiled"]
    pid = room.start().pid
    again = draw(room, spec, square(LARGE))
    assert [note for note in again.notes if note.kind == "memory.retry"] == []
    assert again.finals[0].data == drawn.finals[0].data
    assert room.start().pid == pid


def test_a_wish_beyond_the_limit_fails_clearly_and_the_next_works(
    limited: Callable[[int], RoomClient], folder: Path
) -> None:
    room, spec = limited(100), CheckpointSpec("megapixel", str(folder), "diffusion", footprint=UNKNOWN)
    before = draw(room, spec, square(SMALL))
    pid = room.start().pid
    with pytest.raises(DeviceMemoryError, match="Memory ran out while drawing, even in the most sparing way") as caught:
        draw(room, spec, square(HUGE))
    assert "smaller size" in caught.value.hint
    assert draw(room, spec, square(SMALL)).finals[0].data == before.finals[0].data
    assert room.start().pid == pid, "the room lives"


def test_a_limit_is_foreseen_where_the_footprint_is_known(limited: Callable[[int], RoomClient], folder: Path) -> None:
    room, spec = limited(300), CheckpointSpec("megapixel", str(folder), "diffusion")
    drawn = draw(room, spec, square(LARGE))
    assert [note.kind for note in drawn.notes if note.kind == "memory.retry"] == []
    assert drawn.finals[0].memory == "tiled"
    room = limited(60)
    with pytest.raises(DeviceMemoryError, match=r"megapixel needs \d+ MB for 2048x2048, this device gives \d+"):
        draw(room, spec, square(HUGE))


def tiers(room: RoomClient) -> dict[str, str]:
    status = room.status()
    assert status is not None
    return {holding["name"]: holding["tier"] for holding in status.ledger["holdings"]}


def test_idle_ones_are_laid_aside_then_forgotten_but_not_those_kept_warm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mosaic_folder: Path, diffusion_folder: Path
) -> None:
    stand_in(monkeypatch, tmp_path, RESTLESS)
    kept = CheckpointSpec("kept", str(mosaic_folder), "multimodal", keep_warm=True)
    idle = CheckpointSpec("idle", str(diffusion_folder), "diffusion")
    settings = RoomSettings(device="cpu", threads=1, load_seconds=240, limits=Limits(idle_seconds=3))
    seen: list[dict[str, str]] = []
    with RoomClient(settings) as room:
        draw(room, kept, wish())
        draw(room, idle, wish(steps=2))
        until = time.monotonic() + 3 * PATIENCE
        while (not seen or "idle" in seen[-1]) and time.monotonic() < until:
            if (now := tiers(room)) not in seen:
                seen.append(now)
            time.sleep(0.05)
    assert seen[-1] == {"kept": "device"}
    assert {"kept": "device", "idle": "warm"} in seen, "laid aside first"
