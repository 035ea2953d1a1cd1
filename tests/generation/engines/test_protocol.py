"""Frames between the room and its client: what goes in comes out, and everything else is refused in words."""

import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import pytest

from generation.engines.errors import CanceledError, CheckpointError, EngineError
from generation.engines.fragments import Kind, Words
from generation.engines.protocol import (
    FRAME_LIMIT,
    HEAD,
    HEADER_LIMIT,
    VERSION,
    Channel,
    EncodedFragment,
    Figures,
    Frame,
    Message,
    ProtocolError,
    RoomStatus,
    ShortReadError,
    error_header,
    error_of,
    note_of,
    pack,
    step_of,
    words_of,
)

ROOT = Path(__file__).resolve().parents[3]
Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A channel, and the bare other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_any_frame_comes_out_as_it_went_in() -> None:
    dice = random.Random(7)  # noqa: S311 a game, no secret
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, receiver = Channel(ours), Channel(theirs)
        for size in [0, 1, 2, 65_535, 65_536, 3_000_000, *(dice.randrange(200_000) for _ in range(60))]:
            text = "".join(
                chr(dice.choice([65, 0, 10, 233, 0x732B, 0x1F600, 0xD800])) for _ in range(dice.randrange(99))
            )
            header = {"text": text, "numbers": [dice.random() for _ in range(dice.randrange(9))], "none": None}
            sent = Frame(dice.choice(list(Message)), dice.randrange(2**40), header, dice.randbytes(size))
            thread = Thread(target=sender.send, args=(sent,))
            thread.start()
            assert receiver.receive() == sent
            thread.join()


def test_many_threads_do_not_mix_their_frames() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, receiver = Channel(ours), Channel(theirs)

        def talk(number: int) -> None:
            for size in range(0, 300_000, 50_001):
                sender.send(Frame(Message.EVENT, number, {}, bytes([number]) * size))

        threads = [Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        frames = [receiver.receive() for _ in range(24)]
        for thread in threads:
            thread.join()
    assert all(frame and set(frame.body) <= {frame.number} for frame in frames)


def test_the_end_between_two_frames_is_no_error(pair: Pair) -> None:
    channel, other = pair
    other.sendall(pack(Frame(Message.BYE)))
    other.close()
    assert channel.receive() == Frame(Message.BYE)
    assert channel.receive() is None


@pytest.mark.parametrize("keep", [1, HEAD.size - 1, HEAD.size, HEAD.size + 3, -1])
def test_a_truncated_frame_is_told_as_such(pair: Pair, keep: int) -> None:
    channel, other = pair
    other.sendall(pack(Frame(Message.EVENT, 1, {"a": 1}, b"picture"))[:keep])
    other.close()
    with pytest.raises(ShortReadError, match="middle of a frame"):
        channel.receive()


HEADER = b'{"number":1}'
DEEP = b"[" * 100_000
ENDLESS = b'{"number":Infinity}'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "began with b'GE'"),
        (HEAD.pack(b"TR", 99, Message.BYE, 0, 0), "version 99"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, HEADER_LIMIT + 1, 0), "above the limit"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, 2, FRAME_LIMIT + 1), "above the limit"),
        (HEAD.pack(b"TR", VERSION, 200, len(HEADER), 0) + HEADER, "type 200 cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, 4, 0) + b"nope", "cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, 2, 0) + b"[]", "cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, 2, 0) + b"{}", "cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, 2, 0) + b"\xff\xfe", "cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, len(DEEP), 0) + DEEP, "cannot be read"),
        (HEAD.pack(b"TR", VERSION, Message.BYE, len(ENDLESS), 0) + ENDLESS, "cannot be read"),
    ],
)
def test_garbage_is_refused_in_words(pair: Pair, data: bytes, words: str) -> None:
    channel, other = pair
    other.sendall(data)
    with pytest.raises(ProtocolError, match=words) as caught:
        channel.receive()
    assert not caught.value.retryable


def test_noise_never_does_anything_but_a_protocol_error() -> None:
    dice = random.Random(11)  # noqa: S311 a game, no secret
    whole = pack(Frame(Message.EVENT, 5, {"kind": "final"}, b"x" * 40))
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(broken)
            theirs.shutdown(socket.SHUT_WR)
            try:
                Channel(ours).receive()
            except ProtocolError as error:
                assert error.message


def test_what_is_too_large_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match="above the limit"):
        pack(Frame(Message.GENERATE, 1, {"prompt": "x" * HEADER_LIMIT}))
    with pytest.raises(ProtocolError, match="above the limit"):
        pack(Frame(Message.GENERATE, 1, {}, bytes(FRAME_LIMIT + 1)))


def test_a_reader_that_sleeps_can_be_given_up(pair: Pair) -> None:
    channel, _ = pair

    def give_up() -> None:
        raise EngineError("Enough.")

    with pytest.raises(EngineError, match="Enough"):
        channel.send(Frame(Message.GENERATE, 1, {}, bytes(4_000_000)), waiting=give_up)
    assert not channel.offer(Frame(Message.STATUS)), "an offer never waits"


def test_a_channel_that_another_thread_closed_is_told_as_such(pair: Pair) -> None:
    channel, _ = pair
    channel.close()
    for use in (lambda: channel.readable(0), lambda: channel.offer(Frame(Message.BYE))):
        with pytest.raises(ConnectionAbortedError, match="was closed"):
            use()


def test_fragments_figures_and_status_survive_the_way() -> None:
    fragment = EncodedFragment(Kind.FRAGMENT, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2**62, b"webp")
    assert EncodedFragment.from_frame(Frame(Message.EVENT, 1, fragment.to_header(), b"webp")) == fragment
    figures = Figures(0.5, 1.0, 2.0, 10, "cpu", "starter")
    assert Figures.from_frame(Frame(Message.DONE, 1, figures.to_dict())) == figures
    status = RoomStatus(1, "cpu", (("a", 2), ("b", 3)), 4, 5)
    assert RoomStatus.from_frame(Frame(Message.STATUS, 0, status.to_header())) == status
    words = Words(0, "a cat \U0001f408 on", final=True)
    assert words_of(Frame(Message.WORDS, 1, asdict(words))) == words


STATUS = RoomStatus(1, "cpu", (("a", 2),), 4, 5).to_header()
FIGURES = Figures(0.5, 1.0, 2.0, 10, "cpu", "starter").to_dict()


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"kind": "poem"},
        {"kind": "final", "surplus": 1},
        {**STATUS, "resident": 5},
        {**STATUS, "resident": [["a"]]},
        {**STATUS, "resident": [["a", "many"]]},
        {**STATUS, "memory_used": "much"},
        {**FIGURES, "load_seconds": None},
        {**FIGURES, "checkpoint": 7},
        {"kind": "note", "message": ["a"]},
        {"index": 0, "step": "1", "steps": 2},
        {"index": 0, "text": 7, "final": True},
    ],
)
def test_a_header_of_another_shape_is_refused(header: dict[str, object]) -> None:
    frame = Frame(Message.EVENT, 1, header)
    for read in (EncodedFragment.from_frame, Figures.from_frame, RoomStatus.from_frame, note_of, step_of, words_of):
        with pytest.raises(ProtocolError):
            read(frame)


def test_errors_keep_class_code_hint_and_hope() -> None:
    for error in (
        CheckpointError("Broken.", hint="Fetch it again."),
        CanceledError("Canceled."),
        ShortReadError("Half."),
    ):
        came = error_of(Frame(Message.FAILED, 1, error_header(error)))
        assert type(came) is type(error)
        assert (came.code, came.message, came.hint, came.retryable) == (
            error.code,
            error.message,
            error.hint,
            error.retryable,
        )
    unknown = error_of(Frame(Message.FAILED, 1, {"code": "from_the_future", "message": "New."}))
    assert (unknown.code, unknown.message, unknown.retryable) == ("from_the_future", "New.", False)
    assert EngineError.code == "engine_error", "the class keeps its own code"


def test_the_head_has_the_size_that_was_agreed() -> None:
    assert struct.calcsize("!2sBBII") == HEAD.size == 12


def test_who_talks_to_the_room_never_loads_torch(tmp_path: Path) -> None:
    modules = "generation.engines.client, generation.engines.encoding, generation.management.commands.generate"
    code = f"import sys, django; django.setup(); import {modules}; print({{'torch', 'diffusers'}} & set(sys.modules))"
    environment = {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "TESSERA_DATA": str(tmp_path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
