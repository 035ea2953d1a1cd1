"""What a client says to a room about several wishes: a cancel reaches the one it is meant for, whenever it comes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from generation.engines.client import RoomClient
from generation.engines.errors import CanceledError, EngineError
from generation.engines.fragments import Ended
from generation.engines.params import CheckpointSpec
from generation.engines.talk import Ask
from tests.generation.engines.rooms import ACTOR, SETTINGS, is_gone, stand_in, wish

pytestmark = pytest.mark.processes

SPEC = CheckpointSpec("played", "/played", "multimodal")
ASKS = [Ask(SPEC, wish(seed=1)), Ask(SPEC, wish(seed=2))]


def ends(replies: Iterator[tuple[int, object]]) -> dict[int, EngineError | None]:
    """How each was ended, by place."""
    return {place: reply.error for place, reply in replies if isinstance(reply, Ended)}


DEAF_FOR_ONE = """
import time
first, second = ready(), channel.receive().number
channel.send(Frame(Message.NOTE, first, {"kind": "k", "message": "m", "detail": {}}))
assert channel.receive().type is Message.CANCEL
for step in range(6):
    time.sleep(0.5)
    channel.send(Frame(Message.STEP, second, {"index": 0, "step": step, "steps": 6}))
channel.send(Frame(Message.DONE, second))
channel.send(Frame(Message.FAILED, first, {"code": "canceled", "message": "Canceled."}))
while channel.receive(): pass
"""


def test_others_need_not_pay_for_a_cancel_that_is_obeyed_late(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, ACTOR + DEAF_FOR_ONE)
    with RoomClient(replace(SETTINGS, cancel_seconds=1)) as room:
        told = {}
        with closing(room.generate_together(ASKS)) as replies:
            for place, reply in replies:
                room.cancel(0)
                if isinstance(reply, Ended):
                    told[place] = reply.error
        assert list(told) == [1, 0] and told[1] is None and isinstance(told[0], CanceledError)
        assert room.status() is not None, "it lives"


def test_a_room_that_stops_for_none_of_them_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = DEAF_FOR_ONE.replace("range(6)", "range(10_000)").replace(
        "assert channel.receive().type is Message.CANCEL", ""
    )
    stand_in(monkeypatch, tmp_path, ACTOR + talk)
    with RoomClient(replace(SETTINGS, cancel_seconds=1)) as room:
        room.start()
        child = room._child
        assert child is not None
        replies = room.generate_together(ASKS, tick=lambda: (room.cancel(1), room.cancel(0), None)[-1])
        with pytest.raises(CanceledError, match="did not stop by itself"):
            list(replies)
        assert is_gone(child.pid)


LATE = """
import time
time.sleep(1)
number = ready()
channel.send(Frame(Message.DONE, number))
assert channel.receive() is None, "nothing more was asked"
"""


def test_a_cancel_before_the_room_is_open_is_not_forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, ACTOR + LATE)
    with RoomClient(SETTINGS) as room:
        told = ends(room.generate_together(ASKS, tick=lambda: room.cancel(0)))
        assert isinstance(told[0], CanceledError) and told[1] is None
        assert room.status() is not None


LOADS_LONG = """
import time
first, second = ready(), channel.receive().number
tell = lambda kind: channel.send(Frame(Message.NOTE, first, {"kind": kind, "message": "m", "detail": {}}))
tell("k")
assert channel.receive().type is Message.CANCEL
tell("memory.loading")
time.sleep(8)
tell("memory.load")
channel.send(Frame(Message.FAILED, first, {"code": "canceled", "message": "Canceled."}))
channel.send(Frame(Message.DONE, second))
while channel.receive(): pass
"""


def test_loading_may_take_long_also_when_who_waited_first_has_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, tmp_path, ACTOR + LOADS_LONG)
    with RoomClient(replace(SETTINGS, stall_seconds=5)) as room:
        told = {}
        for place, reply in room.generate_together(ASKS):
            room.cancel(0)
            if isinstance(reply, Ended):
                told[place] = reply.error
        assert isinstance(told[0], CanceledError) and told[1] is None


def test_a_cancel_that_cannot_be_said_now_is_said_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    talk = """
number = ready()
channel.send(Frame(Message.NOTE, number, {"kind": "k", "message": "m", "detail": {}}))
assert channel.receive().type is Message.CANCEL
channel.send(Frame(Message.FAILED, number, {"code": "canceled", "message": "Canceled."}))
while channel.receive(): pass
"""
    stand_in(monkeypatch, tmp_path, ACTOR + talk)
    with RoomClient(SETTINGS) as room:
        room.start()
        child = room._child
        assert child is not None
        offer, refused = child.channel.offer, [1, 2, 3]
        monkeypatch.setattr(child.channel, "offer", lambda frame: not refused.pop() if refused else offer(frame))
        replies = room.generate_together(ASKS[:1])
        assert next(replies)[0] == 0
        room.cancel(0)
        told = ends(replies)
        assert isinstance(told[0], CanceledError) and not refused
        assert room.status() is not None, "no need to kill it"
