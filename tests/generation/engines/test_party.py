"""Wishes of several people drawn side by side by one room: each as it is alone, each with its own end."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from generation.engines import janus_batch, party
from generation.engines.attempts import Attempts
from generation.engines.base import CancelToken
from generation.engines.client import RoomClient
from generation.engines.device import Device
from generation.engines.errors import BlankPictureError, CanceledError, InvalidNumbersError, InvalidParamsError
from generation.engines.foresight import Foresight
from generation.engines.fragments import Ended, Fragment, Kind, Note
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Seat, draw_together
from generation.engines.limits import Limits
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.party import Party, may_join
from generation.engines.plan import Plan
from generation.engines.protocol import EncodedFragment, EngineCrashedError, Figures
from generation.engines.talk import Ask
from tests.generation.engines import tiny
from tests.generation.engines.rooms import SETTINGS, draw, wish


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_mosaic(tmp_path_factory.mktemp("mosaic"))


@pytest.fixture(scope="module")
def mosaic(folder: Path) -> CheckpointSpec:
    return CheckpointSpec("tiny-mosaic", str(folder), "multimodal")


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    folder = tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))
    return CheckpointSpec("tiny-diffusion", str(folder), "diffusion")


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    with RoomClient(SETTINGS) as client:
        yield client


@dataclass
class Told:
    """What a conversation gave, by the place of the wish; `order`: places as their pictures' parts came."""

    order: list[int] = field(default_factory=list)
    finals: dict[int, list[bytes]] = field(default_factory=dict)
    figures: dict[int, Figures] = field(default_factory=dict)
    ends: dict[int, Ended] = field(default_factory=dict)


def converse(
    room: RoomClient,
    asks: Sequence[Ask],
    newcomers: Callable[[Told], Sequence[Ask]] = lambda told: (),
    seen: Callable[[Told], None] = lambda told: None,
) -> Told:
    told = Told()
    with closing(room.generate_together(asks, lambda: newcomers(told))) as replies:
        for place, reply in replies:
            assert place not in told.ends, "Ended is the last"
            if isinstance(reply, Ended):
                told.ends[place] = reply
            elif isinstance(reply, Figures):
                told.figures[place] = reply
            elif isinstance(reply, EncodedFragment):
                told.order.append(place)
                if reply.kind is Kind.FINAL:
                    told.finals.setdefault(place, []).append(reply.data)
            seen(told)
    return told


def alone(room: RoomClient, ask: Ask) -> list[bytes]:
    return [final.data for final in draw(room, ask.spec, ask.params).finals]


@pytest.mark.processes
def test_each_is_drawn_as_alone_and_pays_its_share(room: RoomClient, mosaic: CheckpointSpec) -> None:
    asks = [Ask(mosaic, wish(seed=1)), Ask(mosaic, wish(seed=2, count=2)), Ask(mosaic, wish(seed=9))]
    late = asks[2:]

    def newcomers(told: Told) -> Sequence[Ask]:
        return [late.pop()] if late and told.order.count(0) >= 2 else ()

    told = converse(room, asks[:2], newcomers)
    assert [told.finals[place] for place in range(3)] == [alone(room, ask) for ask in asks]
    assert all(end.error is None for end in told.ends.values())
    switches = sum(first != second for first, second in zip(told.order, told.order[1:], strict=False))
    assert switches > 20, "one after the other there would be two"
    assert told.order.index(2) < len(told.order) - told.order[::-1].index(0), "the newcomer did not wait for the first"
    figures = list(told.figures.values())
    assert all(0 < one.device_seconds < one.total_seconds for one in figures)
    assert [one.need_bytes for one in figures] == [0, 0, 0], "what three needed tells nothing of one"
    assert draw(room, mosaic, asks[0].params).figures[0].need_bytes > 0


@pytest.mark.processes
def test_one_is_canceled_and_the_others_go_on(room: RoomClient, mosaic: CheckpointSpec) -> None:
    asks = [Ask(mosaic, wish(seed=1)), Ask(mosaic, wish(seed=2)), Ask(mosaic, wish(seed=3))]

    def seen(told: Told) -> None:
        if told.order.count(1) == 3:
            room.cancel(1)

    told = converse(room, asks, seen=seen)
    assert isinstance(told.ends[1].error, CanceledError)
    assert (told.ends[0].error, told.ends[2].error) == (None, None)
    assert told.finals == {0: alone(room, asks[0]), 2: alone(room, asks[2])}


@pytest.mark.processes
def test_others_wait_for_their_turn_and_bad_ones_harm_nobody(
    room: RoomClient, mosaic: CheckpointSpec, diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [Ask(mosaic, wish(seed=1)), Ask(mosaic, wish(edge=48)), Ask(diffusion, wish(steps=2)), Ask(mosaic, wish())]
    monkeypatch.setattr("generation.engines.client.FRAME_LIMIT", 1000)
    large = replace(wish(), capability="edit", source=b"x" * 2000)
    late = [Ask(mosaic, large)]

    def newcomers(told: Told) -> Sequence[Ask]:
        return [late.pop()] if late else ()

    told = converse(room, asks, newcomers)
    assert isinstance(told.ends[1].error, InvalidParamsError) and "cannot draw 48x48" in told.ends[1].error.message
    assert isinstance(told.ends[4].error, InvalidParamsError)
    assert told.finals == {place: alone(room, asks[place]) for place in (0, 2, 3)}
    assert list(dict.fromkeys(told.order)) == [0, 2, 3], "nobody overtakes who asked for something else"


@pytest.fixture
def memory() -> Iterator[MemoryManager]:
    manager = MemoryManager(Device("cpu"))
    yield manager
    manager.purge("the test is over")


def guests(memory: MemoryManager, spec: CheckpointSpec, *seeds: int) -> list[Attempts]:
    return [Attempts(memory, spec, wish(seed=seed), CancelToken()) for seed in seeds]


def hold_party(memory: MemoryManager, invited: list[Attempts]) -> tuple[dict[int, Fragment], list[str], list[Ended]]:
    """Finals by seed, kinds of notes, ends."""
    first, *late = invited
    finals, notes, ends = {}, [], []

    def join() -> list[Attempts]:
        came, late[:] = list(late), []
        return came

    for _, item in Party(memory, join).run(first):
        if isinstance(item, Ended):
            ends.append(item)
        elif isinstance(item, Note):
            notes.append(item.kind)
        elif isinstance(item, Fragment) and item.kind is Kind.FINAL:
            assert item.seed not in finals, "each final once"
            finals[item.seed] = item
    return finals, notes, ends


def same(first: dict[int, Fragment], second: dict[int, Fragment]) -> bool:
    return first.keys() == second.keys() and all(first[seed].codes == second[seed].codes for seed in first)


def test_memory_that_is_too_little_for_all_is_enough_for_each(
    memory: MemoryManager, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, _ = hold_party(memory, guests(memory, mosaic, 1, 2, 3))
    sizes = []

    def run_out(core: JanusCore, seats: Sequence[Seat]) -> list[torch.Tensor]:
        sizes.append(len(seats))
        if len(seats) == 3 and sizes.count(3) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return draw_together(core, seats)

    monkeypatch.setattr(janus_batch, "draw_together", run_out)
    finals, notes, ends = hold_party(memory, guests(memory, mosaic, 1, 2, 3))
    assert same(finals, expected) and [end.error for end in ends] == [None] * 3
    assert notes == [], "nobody had to spare"
    assert max(sizes[sizes.index(3) + 21 :]) == 1
    assert {final.memory for final in finals.values()} == {"whole"}


def test_one_that_crashes_the_engine_harms_nobody_else(
    memory: MemoryManager, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, _ = hold_party(memory, guests(memory, mosaic, 1, 3))
    taken = janus_batch.take

    def take(seat: Seat, logits: torch.Tensor) -> int:
        if seat.generator.initial_seed() == 2 and len(seat.codes) == 5:
            raise IndexError("index out of range in self")
        return taken(seat, logits)

    monkeypatch.setattr(janus_batch, "take", take)
    finals, notes, ends = hold_party(memory, guests(memory, mosaic, 1, 2, 3))
    assert same(finals, expected)
    assert [type(end.error) for end in ends] == [type(None), EngineCrashedError, type(None)]
    assert notes == []


def test_who_has_gone_is_kept_by_nobody(memory: MemoryManager, mosaic: CheckpointSpec) -> None:
    first, second, third = guests(memory, mosaic, 1, 2, 3)
    second.cancel.cancel()
    gone, late, drawn = weakref.ref(second.cancel), [third, second], 0
    del second
    for guest, item in Party(memory, lambda: [late.pop()] if late else []).run(first):
        if guest is first and isinstance(item, Fragment):
            drawn += gone() is None
    assert drawn > 5, "while the first is drawn still"


def test_who_has_bad_numbers_is_drawn_again_alone(
    memory: MemoryManager, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = replace(mosaic, precision="bf16")
    unspoiled, _, _ = hold_party(memory, guests(memory, narrow, 1, 3))
    taken = janus_batch.take
    spoil = [2]

    def take(seat: Seat, logits: torch.Tensor) -> int:
        if seat.generator.initial_seed() in spoil and len(seat.codes) == 5:
            spoil.clear()
            raise InvalidNumbersError("Not a number.")
        return taken(seat, logits)

    monkeypatch.setattr(janus_batch, "take", take)
    finals, notes, ends = hold_party(memory, guests(memory, narrow, 1, 2, 3))
    assert notes == ["precision.retry"] and [end.error for end in ends] == [None] * 3
    assert {seed: final.precision for seed, final in finals.items()} == {1: "bf16", 2: "fp32", 3: "bf16"}
    assert same({seed: finals[seed] for seed in (1, 3)}, unspoiled)


def test_who_draws_nothing_but_a_colour_gets_one_more_chance(
    memory: MemoryManager, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = [2, 2]

    def require(final: Fragment) -> None:
        if final.seed in blank:
            blank.remove(final.seed)
            raise BlankPictureError("All black.")

    monkeypatch.setattr("generation.engines.attempts.require_picture", require)
    finals, _, ends = hold_party(memory, guests(memory, replace(mosaic, precision="bf16"), 1, 2))
    assert finals.keys() == {1}
    assert [type(end.error) for end in ends] == [type(None), BlankPictureError]


def test_who_may_join(memory: MemoryManager, mosaic: CheckpointSpec, diffusion: CheckpointSpec) -> None:
    [first] = guests(memory, mosaic, 1)
    first.begin()
    assert may_join(memory, first, mosaic, wish())
    assert not may_join(memory, first, diffusion, wish())
    assert not may_join(memory, first, replace(mosaic, precision="bf16"), wish())
    picture = GenerationParams("", 32, 32, 1, capability="describe", source=b"x")
    assert not may_join(memory, first, mosaic, picture), "words come while nobody else can draw"
    assert not may_join(memory, first, mosaic, replace(wish(), codes=(1, 2)))
    first.plan = Plan(memory="single")
    assert not may_join(memory, first, mosaic, wish()), "memory is short already"
    tight = MemoryManager(Device("cpu"), limits=Limits(budget=1))
    first.plan = Plan()
    assert not may_join(tight, first, mosaic, wish()), "its budget is full"


def test_what_others_were_promised_is_counted_before_they_use_it(
    mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = Device("cpu").memory_used()
    memory = MemoryManager(Device("cpu"), limits=Limits(budget=used + 2_500_000_000))
    [first] = guests(memory, mosaic, 1)
    first.begin()
    monkeypatch.setattr(Device, "memory_used", lambda self: used)
    monkeypatch.setattr(Foresight, "work", lambda *rest: 1_000_000_000)
    with memory.acquire(mosaic, first.plan):
        assert may_join(memory, first, mosaic, wish()), "the others are about to be done"
        assert may_join(memory, first, mosaic, wish(), [wish()])
        assert not may_join(memory, first, mosaic, wish(count=2), [wish()])
        assert not may_join(memory, first, mosaic, wish(), [wish(count=2)])


def test_checkpoints_that_draw_alone_do_so(
    memory: MemoryManager, diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    [first] = guests(memory, diffusion, 5)
    items = list(party.Party(memory, lambda: asked.append(None) or []).run(first))
    assert not asked and isinstance(items[-1][1], Ended)
    assert sum(isinstance(item, Fragment) and item.kind is Kind.FINAL for _, item in items) == 1
