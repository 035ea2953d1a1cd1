"""What goes wrong between a client and a room: slowness, deafness, other languages, crashes, memory that runs out."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from generation.engines import janus_batch
from generation.engines.base import CancelToken
from generation.engines.client import RoomClient
from generation.engines.device import Device
from generation.engines.errors import (
    CanceledError,
    CheckpointError,
    DeviceMemoryError,
    EngineError,
    InvalidParamsError,
    RoomError,
)
from generation.engines.fragments import Step
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Seat, draw_together
from generation.engines.memory import MemoryManager
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import FRAME_LIMIT, Channel, Frame, Message, ProtocolError
from generation.engines.room import POISONED, Room
from generation.engines.wish import Wish
from tests.chaos.native import HangRefusedError, hanging
from tests.generation.engines import tiny
from tests.generation.engines.rooms import ACTOR, SETTINGS, draw, is_gone, stand_in, wish

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    folder = tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))
    return CheckpointSpec("tiny-diffusion", str(folder), "diffusion")


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    return CheckpointSpec("tiny-mosaic", str(tiny.save_mosaic(tmp_path_factory.mktemp("mosaic"))), "multimodal")


@pytest.fixture
def foreign_word(mosaic: CheckpointSpec, tmp_path: Path) -> CheckpointSpec:
    """A checkpoint that can be loaded and fails unexpectedly at the word cat: its token is none of the network's."""
    folder = shutil.copytree(mosaic.path, tmp_path / "foreign")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["cat"] = 9999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return CheckpointSpec("foreign", str(folder), "multimodal")


SLOW = """
import time
from diffusers import UNet2DConditionModel
from generation.engines import diffusion, room
diffusion.MOST_PREVIEWS = 1
forward = UNet2DConditionModel.forward
def slowly(*rest, **named):
    time.sleep(0.5)
    return forward(*rest, **named)
UNet2DConditionModel.forward = slowly
room.main()
"""


def test_slow_steps_are_progress(diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is seen for six seconds and more, and four are the client's patience."""
    stand_in(monkeypatch, tmp_path, SLOW)
    steps: list[Step] = []
    with RoomClient(replace(SETTINGS, stall_seconds=4)) as room:
        began = time.monotonic()
        replies = list(room.generate(diffusion, wish(steps=12), stepped=steps.append))
        seconds = time.monotonic() - began
    assert len(replies) == 5, "loading, loaded, a preview, the picture, the figures"
    assert seconds > 6
    assert 3 <= len(steps) <= seconds, "at most one a second"
    assert [step.step for step in steps] == sorted({step.step for step in steps})
    assert {(step.index, step.steps) for step in steps} == {(0, 12)}


def test_a_cancel_is_heard_while_a_large_wish_is_sent(diffusion: CheckpointSpec) -> None:
    params = GenerationParams("a cat", 32, 32, 7, capability="image_to_image", source=bytes(5_000_000))
    with RoomClient(replace(SETTINGS, cancel_seconds=1)) as room:
        pid = room.start().pid
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.5, room.cancel).start()
        began = time.monotonic()
        with pytest.raises(CanceledError):
            list(room.generate(diffusion, params))
        assert time.monotonic() - began < 60
        assert is_gone(pid)


def test_a_wish_that_is_too_large_leaves_the_room_alone(diffusion: CheckpointSpec) -> None:
    params = GenerationParams("a cat", 32, 32, 7, capability="image_to_image", source=bytes(FRAME_LIMIT + 1))
    with RoomClient(SETTINGS) as room:
        pid = room.start().pid
        with pytest.raises(InvalidParamsError, match="start from has 64 MB; 64 MB is the most") as caught:
            room.generate(diffusion, params)
        assert "smaller" in caught.value.hint
        assert room.start().pid == pid


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sock.sendall(b'GET / HTTP/1.1' + bytes(20))", "began with b'GE'"),
        ("sock.sendall(HEAD.pack(b'TR', 99, Message.STATUS, 2, 0) + b'{}')", "version 99"),
        ("channel.send(Frame(Message.STATUS, header={'resident': 5}))", "is no RoomStatus"),
        ("channel.send(Frame(Message.STATUS, header={'pid': 'x', 'device': 'cpu'}))", "is no RoomStatus"),
    ],
)
def test_a_room_of_another_language_is_told_as_such(
    code: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, tmp_path, ACTOR + code + "\nchannel.receive()")
    with RoomClient(SETTINGS) as room, pytest.raises(ProtocolError, match=words):
        room.start()


def test_figures_that_cannot_be_read_end_the_room(
    diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk = "channel.send(Frame(Message.DONE, ready(), {'load_seconds': 'long'}))\nwhile channel.receive(): pass"
    stand_in(monkeypatch, tmp_path, ACTOR + talk)
    with RoomClient(SETTINGS) as room:
        with pytest.raises(ProtocolError, match="is no Figures"):
            list(room.generate(diffusion, wish()))
        assert room.status() is None


def test_a_room_that_hangs_up_and_stays_is_ended(
    diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, tmp_path, ACTOR + "ready()\nsock.close()\nimport time\ntime.sleep(60)")
    with RoomClient(SETTINGS) as room, pytest.raises(RoomError, match="hung up and was ended"):
        list(room.generate(diffusion, wish()))


def test_the_last_word_of_a_room_is_heard_even_late(
    diffusion: CheckpointSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talk = """
from generation.engines.child import QUEUED_FRAMES
from generation.engines.errors import CheckpointError
number = ready()
for _ in range(QUEUED_FRAMES + 1):  # one is taken, the others fill the queue
    channel.send(Frame(Message.NOTE, number, {"kind": "k", "message": "m", "detail": {}}))
channel.send(Frame(Message.FAILED, number, error_header(CheckpointError("The real reason."))))
"""
    stand_in(monkeypatch, tmp_path, ACTOR + talk)
    with RoomClient(SETTINGS) as room:
        replies = room.generate(diffusion, wish())
        next(replies)
        time.sleep(3)  # a consumer that writes to a locked database; the room has ended long ago
        with pytest.raises(CheckpointError, match="The real reason"):
            list(replies)


def test_an_unexpected_failure_is_a_sentence_and_the_room_stays(
    mosaic: CheckpointSpec, foreign_word: CheckpointSpec
) -> None:
    with RoomClient(SETTINGS) as room:
        pid = room.start().pid
        with pytest.raises(EngineError, match=r"failed unexpectedly \(IndexError\)") as caught:
            draw(room, foreign_word, wish())
        assert (caught.value.code, caught.value.retryable) == ("engine_crashed", False)
        status = room.status()
        assert status is not None and status.resident == (), "what crashed is not trusted again"
        assert len(draw(room, mosaic, wish()).finals) == 1
        assert room.start().pid == pid


IN_DOUBT = """
from generation.engines import device, room
def purge(self):
    raise RuntimeError("CUDA error: device-side assert triggered")
device.Device.purge = purge
room.main()
"""


def test_a_room_whose_device_is_in_doubt_gives_itself_up(
    foreign_word: CheckpointSpec, mosaic: CheckpointSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with RoomClient(SETTINGS) as room:
        with monkeypatch.context() as patched:
            stand_in(patched, tmp_path, IN_DOUBT)
            pid = room.start().pid
        child = room._child
        assert child is not None
        with pytest.raises(EngineError, match="failed unexpectedly") as caught:
            draw(room, foreign_word, wish())
        assert (caught.value.code, caught.value.retryable) == ("device_unusable", True)
        assert is_gone(pid)
        assert child._process.wait(5) == POISONED
        assert len(draw(room, mosaic, wish()).finals) == 1
        assert room.start().pid != pid


@pytest.fixture
def stage(mosaic: CheckpointSpec) -> Iterator[tuple[Room, Channel]]:
    """A room of this process, warm, and the end where its client would be."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        room = Room(Channel(ours))
        room._memory = MemoryManager(Device("cpu"), tell=room._tell)
        yield room, Channel(theirs)


def draw_with_failures(stage: tuple[Room, Channel], spec: CheckpointSpec, failing: range) -> list[Frame]:
    """Two pictures, the memory running out in those runs of the network; what the client would have been sent."""
    room, client = stage
    runs = 0

    def run_out(core: JanusCore, seats: Sequence[Seat]) -> list[torch.Tensor]:
        nonlocal runs
        runs += 1
        if runs in failing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return draw_together(core, seats)

    frames: list[Frame] = []

    def listen() -> None:
        while frame := client.receive():
            frames.append(frame)

    listener = threading.Thread(target=listen)
    listener.start()
    janus_batch.draw_together = run_out  # type: ignore[attr-defined]
    header = {"spec": asdict(spec), "params": wish(count=2).to_header(), "parts": [None, None]}
    try:
        room._wishes[1] = Wish(Frame(Message.GENERATE, 1, header))
        room._serve(room._wishes[1])
    finally:
        janus_batch.draw_together = draw_together  # type: ignore[attr-defined]
        room._channel._sock.shutdown(socket.SHUT_WR)
        listener.join(10)
    return frames


def test_memory_that_runs_out_in_mid_picture_is_purged_and_tried_once_more(
    stage: tuple[Room, Channel], mosaic: CheckpointSpec
) -> None:
    frames = draw_with_failures(stage, mosaic, range(40, 41))
    notes = [frame.header["kind"] for frame in frames if frame.type is Message.NOTE]
    assert notes == ["memory.loading", "memory.load", "memory.purge", "memory.retry", "memory.loading", "memory.load"]
    [retry] = [frame.header["detail"] for frame in frames if frame.header.get("kind") == "memory.retry"]
    assert retry["memory"] == "single", "side by side needs more than one after the other"
    events = [(frame.header["index"], frame.header["kind"]) for frame in frames if frame.type is Message.EVENT]
    assert events[-34:] == [(0, "fragment")] * 16 + [(0, "final")] + [(1, "fragment")] * 16 + [(1, "final")]
    assert 0 < len(events) - 34 < 32, "some of both were seen before"


def test_memory_that_runs_out_again_is_a_clear_failure(stage: tuple[Room, Channel], mosaic: CheckpointSpec) -> None:
    failed = draw_with_failures(stage, mosaic, range(40, 10_000))[-1]
    assert (failed.type, failed.header["code"]) == (Message.FAILED, DeviceMemoryError.code)
    assert "most sparing way" in failed.header["message"] and "smaller size" in failed.header["hint"]
    stage[0]._manager.tell = lambda note: None  # the client has gone
    with stage[0]._manager.acquire(mosaic) as engine:
        assert list(engine.generate(wish(), CancelToken())), "the next one works"


def test_a_room_that_not_even_the_system_can_end_is_left_behind(mosaic: CheckpointSpec) -> None:
    with RoomClient(SETTINGS) as client:
        assert draw(client, mosaic, wish()).finals
        stuck = client.status()
        assert stuck is not None
        try:
            with hanging(stuck.pid):  # whoever traces it keeps it from being buried
                client.kill()
                assert client.status() is None
                assert draw(client, mosaic, wish()).finals
                fresh = client.status()
                assert fresh is not None and fresh.pid != stuck.pid
        except HangRefusedError as refused:
            pytest.skip(f"nobody may trace here: {refused}")
