"""Several wishes in one room: what is told goes to whom it is about, who has gone is let go at once."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import pytest

from generation.engines.attempts import Attempts
from generation.engines.device import Device
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import Channel, Figures, Frame, Message
from generation.engines.room import Room
from generation.engines.wish import Wish
from tests.generation.engines import tiny
from tests.generation.engines.rooms import wish


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    return CheckpointSpec("tiny-mosaic", str(tiny.save_mosaic(tmp_path_factory.mktemp("mosaic"))), "multimodal")


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    folder = tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))
    return CheckpointSpec("tiny-diffusion", str(folder), "diffusion")


HUGE = 10**12  # bytes


class Stage:
    """A room of this process, and what it said to its client. `heard` is called with each frame, before the next."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        self.room = Room(Channel(ours))
        self.manager = self.room._memory = MemoryManager(Device("cpu"), tell=self.room._tell)
        self.frames: list[Frame] = []
        self.heard: Callable[[Frame], None] = lambda frame: None
        send = self.room._send

        def say(frame: Frame) -> None:
            send(frame)
            self.heard(frame)

        self.room._send = say  # type: ignore[method-assign]
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        client = Channel(self._theirs)
        while frame := client.receive():
            self.frames.append(frame)

    def ask(self, number: int, spec: CheckpointSpec, params: GenerationParams) -> None:
        header = {"spec": asdict(spec), "params": params.to_header(), "parts": [None, None]}
        self.room._hear(Frame(Message.GENERATE, number, header))

    def cancel(self, number: int) -> None:
        self.room._hear(Frame(Message.CANCEL, number))

    def work(self) -> list[Frame]:
        """Serve all who asked; what was said, states left out."""
        while self.room._waiting or not self.room._inbox.empty():
            one = self.room._next()
            assert isinstance(one, Wish)
            self.room._serve(one)
        return self.close()

    def close(self) -> list[Frame]:
        self.manager.tell = lambda note: None
        self.room._channel._sock.close()
        self._listener.join(30)
        self._theirs.close()
        return [frame for frame in self.frames if frame.type is not Message.STATUS]


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()
    made.manager.purge("the test is over")


def numbers(frames: list[Frame], kind: Message) -> list[int]:
    return [frame.number for frame in frames if frame.type is kind]


def test_a_note_reaches_only_whom_it_is_about(stage: Stage, mosaic: CheckpointSpec) -> None:
    long = replace(wish(seed=2), prompt="a cat on white " * 200)
    stage.ask(1, mosaic, wish(seed=1)), stage.ask(2, mosaic, long)
    frames = stage.work()
    notes = [(frame.number, frame.header["kind"]) for frame in frames if frame.type is Message.NOTE]
    assert (2, "prompt.truncated") in notes and (1, "prompt.truncated") not in notes
    assert sorted(numbers(frames, Message.DONE)) == [1, 2]


def test_who_is_canceled_while_waiting_is_answered_at_once(
    stage: Stage, mosaic: CheckpointSpec, diffusion: CheckpointSpec
) -> None:
    asked: list[int] = []
    stage.ask(1, mosaic, wish(seed=1))

    def heard(frame: Frame) -> None:
        if frame.type is Message.EVENT and not asked:
            asked.append(2)
            stage.ask(2, diffusion, wish())
            stage.ask(3, diffusion, wish(steps=2))
            stage.cancel(2)

    stage.heard = heard
    frames = stage.work()
    order = [frame.number for frame in frames if frame.type in (Message.DONE, Message.FAILED)]
    assert order == [2, 1, 3], "the first was in mid-picture, the third has its turn"
    [gone] = [frame for frame in frames if frame.type is Message.FAILED]
    assert gone.header["code"] == "canceled"


def test_who_is_canceled_before_it_begins_loads_nothing(stage: Stage, mosaic: CheckpointSpec) -> None:
    stage.ask(1, mosaic, wish())
    stage.cancel(1)
    frames = stage.work()
    assert [(frame.type, frame.number) for frame in frames] == [(Message.FAILED, 1)]
    assert stage.manager.resident == ()


def test_what_others_work_with_is_no_part_of_the_baseline(
    stage: Stage, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    used, figures = Device.memory_used, Room._figures

    def count(room: Room, wish: Wish, guest: Attempts, *, alone: bool) -> Figures:
        ended.append(wish.number)
        return figures(room, wish, guest, alone=alone)

    monkeypatch.setattr(Room, "_figures", count)
    monkeypatch.setattr(Device, "memory_used", lambda self: used(self) + (HUGE if ended and stage.room._open else 0))
    stage.ask(1, mosaic, wish(seed=1)), stage.ask(2, mosaic, wish(seed=2))
    stage.work()
    assert ended == [1, 2]
    assert 0 < stage.manager.ledger.baseline < HUGE
    assert stage.manager.ledger.wishes == 2
