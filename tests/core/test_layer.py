"""The local channel layer: two real processes, plain threads, a stale socket, a missing or stuck web process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from core.layer import LocalChannelLayer
from core.sender import BACKLOG_BYTES, LARGE, Sender
from core.unixsocket import PATH_LIMIT, Listener, socket_path
from core.wire import MAGIC, MESSAGE_LIMIT, PREFIX, WireError, decode, encode, lengths

ROOT = Path(__file__).resolve().parents[2]
SENDER = """
import sys, threading
from asgiref.sync import async_to_sync
from core.layer import LocalChannelLayer

layer = LocalChannelLayer(folder=sys.argv[1])
count, size = int(sys.argv[2]), int(sys.argv[3])

def work():
    for number in range(count):
        async_to_sync(layer.group_send)("g", {"type": "x", "n": number, "frame": bytes([number % 256]) * size})

thread = threading.Thread(target=work)
thread.start()
thread.join()
layer._sender.flush(10)
"""
LISTENER = """
import asyncio, sys
from core.layer import LocalChannelLayer

async def main():
    layer = LocalChannelLayer(folder=sys.argv[1])
    await layer.group_add("g", await layer.new_channel())
    print("listening", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


async def end(process: subprocess.Popen[str], number: int | None = None) -> int:
    if number is not None:
        process.send_signal(number)
    await asyncio.to_thread(process.communicate, timeout=20)
    return process.returncode


@pytest.fixture
async def layer(tmp_path: Path) -> AsyncIterator[LocalChannelLayer]:
    made = LocalChannelLayer(folder=str(tmp_path / "run"))
    yield made
    await made.close()


async def receive(layer: LocalChannelLayer, channel: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        return await layer.receive(channel)


@pytest.mark.processes
async def test_messages_cross_from_another_process_in_order_and_whole(layer: LocalChannelLayer, tmp_path: Path) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    process = start(SENDER, str(tmp_path / "run"), "60", "200000")
    got = [await receive(layer, channel) for _ in range(60)]
    assert [message["n"] for message in got] == list(range(60))
    assert all(message["frame"] == bytes([message["n"] % 256]) * 200_000 for message in got)
    assert await end(process) == 0


@pytest.mark.processes
async def test_a_killed_web_process_does_not_prevent_the_next(layer: LocalChannelLayer, tmp_path: Path) -> None:
    first = start(LISTENER, str(tmp_path / "run"))
    assert first.stdout is not None
    assert await asyncio.to_thread(first.stdout.readline) == "listening\n"
    await end(first, signal.SIGKILL)
    assert (tmp_path / "run" / "layer.sock").exists()
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    sender = start(SENDER, str(tmp_path / "run"), "1", "10")
    assert (await receive(layer, channel))["n"] == 0
    assert await end(sender) == 0


@pytest.mark.processes
async def test_a_second_web_process_leaves_the_first_alone(
    layer: LocalChannelLayer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = start(LISTENER, str(tmp_path / "run"))
    assert first.stdout is not None
    await asyncio.to_thread(first.stdout.readline)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    assert "Another web process" in caplog.text
    await layer.group_send("g", {"type": "x"})
    assert await receive(layer, channel) == {"type": "x"}
    await end(first, signal.SIGKILL)


@pytest.mark.processes
async def test_a_sender_finds_a_restarted_web_process(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "run")
    for _ in range(2):
        layer = LocalChannelLayer(folder=str(tmp_path / "run"))
        channel = await layer.new_channel()
        await layer.group_add("g", channel)
        sender.put(encode("group", "g", {"type": "x"}))
        assert await receive(layer, channel) == {"type": "x"}
        await layer.close()
    await asyncio.to_thread(sender.close)


async def test_a_plain_thread_of_the_web_process_wakes_the_loop_at_once(layer: LocalChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    sent: list[float] = []

    def work() -> None:
        time.sleep(0.05)
        sent.append(time.monotonic())
        async_to_sync(layer.group_send)("g", {"type": "x", "frame": b"1"})

    thread = threading.Thread(target=work)
    thread.start()
    assert await receive(layer, channel) == {"type": "x", "frame": b"1"}
    assert time.monotonic() - sent[0] < 0.5
    thread.join()


async def test_a_channel_can_be_told_alone(layer: LocalChannelLayer, tmp_path: Path) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    sender = Sender(tmp_path / "run")
    sender.put(encode("channel", channel, {"type": "x"}))
    assert await receive(layer, channel) == {"type": "x"}
    await asyncio.to_thread(sender.close)


def test_nobody_listens_and_sending_costs_nothing(tmp_path: Path) -> None:
    layer = LocalChannelLayer(folder=str(tmp_path / "run"))
    began = time.monotonic()
    for _ in range(200):
        async_to_sync(layer.group_send)("g", {"type": "x", "frame": bytes(100_000)})
    assert time.monotonic() - began < 20
    async_to_sync(layer.close)()


def test_a_stuck_web_process_neither_blocks_nor_grows_a_sender(tmp_path: Path) -> None:
    listener = Listener(socket_path(tmp_path / "run"))  # accepts into its backlog and never reads
    sender = Sender(tmp_path / "run")
    slowest = 0.0
    for number in range(200):
        began = time.monotonic()
        sender.put(encode("group", "g", {"type": "x", "n": number, "frame": bytes(200_000)}))
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 0.25
    assert sender._size <= BACKLOG_BYTES
    assert sender.dropped > 100
    newest = sender._backlog[-1]
    head, blobs = lengths(newest[: PREFIX.size])
    assert decode(newest[PREFIX.size : PREFIX.size + head], newest[-blobs:])[2]["n"] == 199
    sender._backlog.clear()
    listener.close()
    sender.close()


def test_small_messages_outlive_pictures_in_a_full_backlog(tmp_path: Path) -> None:
    listener = Listener(socket_path(tmp_path / "run"))
    sender = Sender(tmp_path / "run")
    sender.put(encode("group", "g", {"type": "first", "frame": bytes(1_000_000)}))
    with sender._ready:  # the thread has the first in hand, which nobody reads: what comes now must wait
        assert sender._ready.wait_for(lambda: sender._busy, timeout=10)
    state = encode("group", "g", {"type": "state"})
    sender.put(state)
    for _ in range(20):
        sender.put(encode("group", "g", {"type": "x", "frame": bytes(1_000_000)}))
    assert state in sender._backlog
    sender._backlog.clear()
    listener.close()
    sender.close()


def test_small_messages_wait_for_a_web_process_that_is_being_restarted(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "run")
    state, picture = encode("group", "g", {"type": "state"}), encode("group", "g", {"frame": bytes(LARGE)})
    for message in (state, picture, state):
        sender.put(message)
        time.sleep(0.1)  # the second and third come while it waits to try again
    assert sender.dropped == 1
    listener = Listener(socket_path(tmp_path / "run"))
    assert sender.flush(5)
    with closing(listener.socket) as bound:
        bound.setblocking(True)
        connection, _ = bound.accept()
        with connection:
            sender.close()
            assert connection.makefile("rb").read() == state + state
    listener.close()


def test_who_ends_does_not_wait_for_nobody(tmp_path: Path) -> None:
    sender = Sender(tmp_path / "run")
    sender.put(encode("group", "g", {"type": "state"}))
    began = time.monotonic()
    sender.close()
    assert time.monotonic() - began < 20
    assert sender._thread is not None
    assert not sender._thread.is_alive()


def test_a_fork_gets_a_sender_of_its_own(tmp_path: Path) -> None:
    listener = Listener(socket_path(tmp_path / "run"))
    sender = Sender(tmp_path / "run")
    sender.put(encode("group", "g", {"type": "x"}))
    assert sender.flush(5)
    sender._pid = -1  # what a forked child finds
    sender.put(encode("group", "g", {"type": "y"}))
    assert sender.flush(5)
    assert sender._pid == os.getpid()
    listener.close()
    sender.close()


async def test_rubbish_on_the_socket_is_cut_off(layer: LocalChannelLayer, tmp_path: Path) -> None:
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    path = socket_path(tmp_path / "run")
    too_large = PREFIX.pack(MAGIC, 1, MESSAGE_LIMIT, 1)
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", too_large, encode("group", "g", {})[:-1] + b"!"):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(rubbish)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    await layer.group_send("g", {"type": "x"})
    assert await receive(layer, channel) == {"type": "x"}


async def test_the_socket_is_private(layer: LocalChannelLayer, tmp_path: Path) -> None:
    await layer.group_add("g", await layer.new_channel())
    assert (tmp_path / "run" / "layer.sock").stat().st_mode & 0o777 == 0o600


def test_a_long_folder_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    path = socket_path(folder)
    assert len(os.fsencode(path)) <= PATH_LIMIT
    assert path == socket_path(folder)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.chmod(0o755)
    with pytest.raises(PermissionError):
        socket_path(folder)
    path.parent.rmdir()


def test_wire_round_trip_and_limits() -> None:
    message = {"type": "x", "event": {"words": ["ä", None, 1.5]}, "a": b"1", "more": [{"b": b""}, {"c": b"23"}]}
    packed = encode("group", "g", message)
    head, blobs = lengths(packed[: PREFIX.size])
    body = packed[PREFIX.size :]
    assert decode(body[:head], body[head : head + blobs]) == ("group", "g", message)
    with pytest.raises(WireError):
        encode("group", "g", {"a": bytes(MESSAGE_LIMIT)})
    with pytest.raises(WireError):
        encode("group", "g", {"a": object()})
    with pytest.raises(WireError):
        decode(body[:head], body[head:-1])
    with pytest.raises(WireError):
        decode(b"[]", b"")


def test_a_listener_lets_go_when_it_closes(tmp_path: Path) -> None:
    path = socket_path(tmp_path / "run")
    first = Listener(path)
    with pytest.raises(BlockingIOError):
        Listener(path)
    first.close()
    second = Listener(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    second.close()
