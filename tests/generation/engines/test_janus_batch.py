"""Several pictures side by side: each as it is alone, whoever joins, leaves or fails meanwhile; and weights in int8."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from generation.engines import janus
from generation.engines.attempts import Attempts
from generation.engines.base import CancelToken, Engine
from generation.engines.device import Device
from generation.engines.errors import CanceledError, InvalidParamsError
from generation.engines.fragments import LOADED, Ended, Fragment, Kind, Note, Step, Words
from generation.engines.int8 import works_in_int8
from generation.engines.janus import JanusEngine, Wish
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import Plan
from tests.generation.engines.drawing import draw, finals, janus_of, loaded, pictures, png, same

EDGE = 32


@pytest.fixture(scope="module")
def outer(looking_folder: Path) -> Engine:
    return loaded(looking_folder, "multimodal")


@pytest.fixture(scope="module")
def engine(outer: Engine) -> JanusEngine:
    return janus_of(outer)


def wish(prompt: str, seed: int, **changes: object) -> Wish:
    return GenerationParams(prompt, EDGE, EDGE, seed, **{"temperature": 1.0, **changes}), CancelToken()


def wishes() -> list[Wish]:
    """Prompts of several lengths, one with guidance, one that edits, one of two pictures."""
    source = png(pictures()[0])
    return [
        wish("a cat", 1, guidance=1),
        wish("a red dog left of a white pizza on blue", 2, guidance=3),
        wish("a dog", 3, guidance=1, capability="edit", source=source),
        wish("a blue pizza", 4, guidance=2, count=2),
    ]


def run(
    engine: JanusEngine, given: Sequence[Wish], newcomers: Callable[[], Sequence[Wish]] = tuple
) -> tuple[dict[int, list[Fragment]], dict[int, Ended]]:
    """Finals and ends of each wish."""
    drawn: dict[int, list[Fragment]] = {}
    ends: dict[int, Ended] = {}
    for number, item in engine.generate_many(given, newcomers):
        assert number not in ends, "Ended is the last"
        if isinstance(item, Ended):
            ends[number] = item
        elif isinstance(item, Fragment) and item.kind is Kind.FINAL:
            drawn.setdefault(number, []).append(item)
    return drawn, ends


def alone(engine: JanusEngine, one: Wish) -> list[Fragment]:
    return finals([item for item in engine.generate(one[0], CancelToken()) if isinstance(item, Fragment)])


def test_each_picture_of_a_batch_is_as_it_is_alone(engine: JanusEngine) -> None:
    given = wishes()
    drawn, ends = run(engine, given)
    assert all(end.error is None for end in ends.values()) and list(ends) == [0, 1, 2, 3]
    seen = set()
    for number, one in enumerate(given):
        expected = alone(engine, one)
        assert len(expected) == one[0].count == len(drawn[number])
        for first, second in zip(drawn[number], expected, strict=True):
            assert same(first, second) and first.codes == second.codes
            assert (first.index, first.seed) == (second.index, second.seed)
            seen.add(first.codes)
    assert len(seen) == 5


def test_a_newcomer_joins_between_two_codes_and_changes_nothing(engine: JanusEngine) -> None:
    first, *others = wishes()
    asked = 0

    def newcomers() -> Sequence[Wish]:
        nonlocal asked
        asked += 1
        return [others[asked // 7 - 1]] if asked in {7, 14, 21} else []

    drawn, ends = run(engine, [first], newcomers)
    assert list(ends) == [0, 1, 2, 3], "who came first is done first"
    for number, one in enumerate([first, *others]):
        expected = alone(engine, one)
        assert all(same(*pair) for pair in zip(drawn[number], expected, strict=True))


def test_one_that_is_canceled_or_wrong_leaves_the_others(engine: JanusEngine) -> None:
    canceled, other = wish("a cat", 1), wish("a dog", 2)
    asked = 0

    def newcomers() -> Sequence[Wish]:
        nonlocal asked
        asked += 1
        if asked == 5:
            canceled[1].cancel()
        wrong = GenerationParams("a cat", 64, 64, 1), CancelToken()
        return [wrong] if asked == 8 else []

    drawn, ends = run(engine, [canceled, other], newcomers)
    assert list(drawn) == [1] and same(*drawn[1], *alone(engine, other))
    assert isinstance(ends[0].error, CanceledError) and isinstance(ends[2].error, InvalidParamsError)
    assert list(ends) == [0, 2, 1] and ends[1].error is None


def test_a_question_among_pictures_is_answered(engine: JanusEngine) -> None:
    question = GenerationParams("", EDGE, EDGE, 1, capability="describe", source=png(pictures()[0])), CancelToken()
    items = list(engine.generate_many([question, wish("a cat", 1)]))
    answers = [item for number, item in items if number == 0 and isinstance(item, Words)]
    assert answers[-1].final
    assert [number for number, item in items if isinstance(item, Ended)] == [0, 1]


def test_pictures_of_one_wish_grow_together_unless_memory_is_spared(engine: JanusEngine) -> None:
    def order() -> list[int]:
        items = engine.generate(wish("a cat", 1, count=2)[0], CancelToken())
        return [item.index for item in items if isinstance(item, Step)]

    together = order()
    assert together[:4] == [0, 1, 0, 1]
    try:
        assert engine.adapt(Plan(memory="single"))
        assert order() == sorted(together)
    finally:
        assert engine.adapt(Plan())


def attempts(folder: Path, precision: str) -> tuple[Attempts, list[Fragment | Note | Step | Words]]:
    spec = CheckpointSpec("tiny", str(folder), "multimodal", precision=precision)
    tried = Attempts(MemoryManager(Device("cpu")), spec, wish("a cat", 1)[0], CancelToken())
    return tried, list(tried.run())


def test_int8_is_drawn_when_asked_for_and_said(mosaic_folder: Path) -> None:
    if not works_in_int8():
        pytest.skip("this machine cannot")
    tried, items = attempts(mosaic_folder, "int8")
    assert tried.precision == "int8"
    assert len(finals([item for item in items if isinstance(item, Fragment)])) == 1
    assert not [item for item in items if isinstance(item, Note)]
    assert attempts(mosaic_folder, "auto")[0].precision == "fp32", "never by itself"


def test_int8_that_cannot_be_is_float32_and_said(mosaic_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janus, "works_in_int8", lambda: False)
    tried, items = attempts(mosaic_folder, "int8")
    assert tried.precision == "fp32"
    [note] = [item for item in items if isinstance(item, Note)]
    assert note.kind == "precision.retry" and note.detail["precision"] == "fp32"
    [final] = finals([item for item in items if isinstance(item, Fragment)])
    [plain] = finals(draw(loaded(mosaic_folder, "multimodal"), EDGE, prompt="a cat", seed=1, temperature=1.0))
    assert np.array_equal(final.pixels, plain.pixels)


def test_what_is_loaded_for_float32_is_not_read_anew_where_int8_cannot_be(
    mosaic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janus, "works_in_int8", lambda: False)
    told: list[Note] = []
    memory = MemoryManager(Device("cpu"), tell=told.append)
    spec = CheckpointSpec("tiny", str(mosaic_folder), "multimodal", precision="int8")
    for _ in range(2):
        list(Attempts(memory, spec, wish("a cat", 1)[0], CancelToken()).run())
    assert [note.kind for note in told].count(LOADED) == 1
