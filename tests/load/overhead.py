"""What the portal adds to the engine: pictures a minute through queue, stream and store, over those of a bare loop."""

import asyncio
import time
from pathlib import Path

import generation
from generation.engines.client import RoomClient, RoomSettings
from generation.engines.params import CheckpointSpec, GenerationParams
from tests.bench.rows import Row
from tests.crowd import Person, all_done

STARTER = Path(generation.__file__).parent / "starter" / "diffusion"
PROMPT = "a cat on blue"
STEPS = 60  # with which a picture takes over a second
MOST_SECONDS = 300.0


def bare(threads: int, pictures: int) -> float:
    """Seconds of a loop around an engine room, nobody watching; the first picture loads and is not counted."""
    spec = CheckpointSpec("measured", str(STARTER), "diffusion")
    with RoomClient(RoomSettings(device="cpu", threads=threads, log_level="ERROR")) as room:
        for seed in range(pictures + 1):
            if seed == 1:
                began = time.perf_counter()
            for _ in room.generate(spec, GenerationParams(PROMPT, 128, 128, seed, steps=STEPS)):
                pass
        return time.perf_counter() - began


async def through_the_portal(person: Person, pictures: int) -> float:
    """The same pictures, all asked for at once by one who watches: seconds from one end to the last."""
    before = len(person.completed)
    for seed in range(pictures + 1):
        await asyncio.to_thread(person.ask, PROMPT, seed, STEPS)
    while len(person.completed) == before:
        await asyncio.sleep(0.005)
    began = time.perf_counter()
    missing = pictures - (len(person.completed) - before - 1)
    await all_done([person], MOST_SECONDS)
    return (time.perf_counter() - began) * pictures / missing


async def overhead(person: Person, threads: int, pictures: int) -> Row:
    """Both ways, twice each, the better of each: the portal's processes run beside both."""
    ours, plain = [], []
    for _ in range(2):
        plain.append(await asyncio.to_thread(bare, threads, pictures))
        ours.append(await through_the_portal(person, pictures))
    remark = f"{pictures} pictures of {min(plain) / pictures:.2f} s, all watched"
    return Row("pictures a minute, over those of a bare engine loop", min(plain) / min(ours), 0.97, remark=remark)
