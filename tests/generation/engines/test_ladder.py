"""Every rung of the memory ladder, used because memory ran out: on a device of which every byte is accounted for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from generation.engines.attempts import Attempts
from generation.engines.base import CancelToken
from generation.engines.device import Device
from generation.engines.errors import DeviceMemoryError
from generation.engines.footprint import Footprint
from generation.engines.fragments import Fragment, Kind, Pixels, Words
from generation.engines.inspection import inspect_checkpoint
from generation.engines.limits import Limits
from generation.engines.memory import MemoryManager
from generation.engines.multimodal import MultimodalEngine
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import MEMORY_RUNGS, MemoryRung, Plan
from tests.generation.engines import tiny, tiny_emu3, tiny_stair
from tests.generation.engines.drawing import pictures, png
from tests.generation.engines.narrow import NarrowDevice, watch

UNKNOWN = Footprint().to_dict()  # of which nothing is foreseen: only what runs out decides


class Descent:
    """One checkpoint drawn again and again, each time with one byte less than it needed the last time."""

    def __init__(self, folder: Path, count: int) -> None:
        facts = inspect_checkpoint(folder)
        self.spec = CheckpointSpec("tiny", str(folder), facts.family, footprint=UNKNOWN)
        steps = 2 if (folder / "model_index.json").is_file() else None
        self.params = GenerationParams("a cat", *facts.sizes[0], 7, count=count, steps=steps)
        self.device = NarrowDevice()
        self.memory = MemoryManager(self.device, limits=Limits(reserve=1))
        self.drawn: dict[MemoryRung, tuple[int, Pixels]] = {}  # by rung: bytes needed, and a picture

    def draw(self) -> MemoryRung:
        """The rung that the picture's record shows."""
        attempts = Attempts(self.memory, self.spec, self.params, CancelToken())
        made = [item for item in attempts.run() if isinstance(item, Fragment) and item.kind is Kind.FINAL]
        [rung] = {final.memory for final in made}
        assert len(made) == self.params.count
        assert self.device.highest <= self.device.limit
        self.drawn[rung] = self.device.highest, made[0].pixels
        return rung

    def go_down(self) -> None:
        """Until there is no way left, and then it draws again with plenty."""
        self.draw()
        plenty = self.device.limit
        with pytest.raises(DeviceMemoryError, match="most sparing way|does not fit"):
            for _ in range(2 * len(MEMORY_RUNGS)):
                self.device.limit = self.device.highest - 1
                self.draw()
        self.device.limit = plenty
        self.draw()


# how it is made, how many pictures, and the rungs it can take
LADDERS: dict[str, tuple[Callable[[Path], Path], int, tuple[MemoryRung, ...]]] = {
    "diffusion": (tiny_stair.save_stair, 1, MEMORY_RUNGS),
    "Janus": (tiny.save_janus, 2, ("whole", "single", "components", "sequential")),
    "Emu3": (tiny_emu3.save_emu3, 1, ("whole", "components", "sequential")),
}


@pytest.mark.parametrize("name", LADDERS)
def test_every_rung_is_taken_when_memory_gets_tight(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, count, rungs = LADDERS[name]
    descent = Descent(save(tmp_path), count)
    watch(monkeypatch, descent.device)
    descent.go_down()
    told = ", ".join(f"{rung} {need:,}" for rung, (need, _) in descent.drawn.items())
    with capsys.disabled():
        print(f"\n{name}, bytes by rung: {told}", end="")  # noqa: T201
    assert tuple(descent.drawn) == rungs
    assert descent.device.refused >= len(rungs)
    pictures = {rung: picture for rung, (_, picture) in descent.drawn.items()}
    for rung, picture in pictures.items():  # tiles are blended, which is all that any rung changes
        like = pictures["tiled" if "tiled" in rungs and Plan(memory=rung).uses("tiled") else "whole"]
        assert np.abs(picture.astype(int) - like).max() <= 1


def test_emu3_draws_and_answers_the_same_by_every_rung(tmp_path: Path) -> None:
    spec = CheckpointSpec("tiny", str(tiny_emu3.save_emu3(tmp_path)), "multimodal")
    asked = GenerationParams("", 64, 48, 7, source=png(pictures(64)[0]), capability="describe")
    engine = MultimodalEngine(spec)
    engine.load(Device("cpu"), Plan(memory="sequential"))
    found = set()
    for rung in reversed(engine.rungs):
        assert engine.adapt(Plan(memory=rung)) and engine.weights is not None
        engine.weights.wake()
        *_, final = engine.generate(GenerationParams("a cat", 64, 48, 7), CancelToken())
        *_, answer = engine.generate(asked, CancelToken())
        assert isinstance(final, Fragment) and isinstance(answer, Words) and answer.text
        found.add((final.codes, answer.text))
    assert len(found) == 1
