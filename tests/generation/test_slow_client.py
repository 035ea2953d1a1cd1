"""Rude clients against a real daphne, one that never reads and ones that send without end: bounded memory."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.portal import ROOT, free_port

pytestmark = pytest.mark.processes
FRAMES, SIZE = 400, 200_000
PREPARE = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from accounts.models import User
from django.test import Client
for name in ("alice", "bob"):
    user = User.objects.create_user(f"{name}@example.org", "correct horse battery")
    client = Client(); client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    print(user.pk, client.cookies["sessionid"].value)
"""
DRAW = """
import sys, time, uuid
import django; django.setup()
from generation import events, live
from generation.engines.fragments import Kind
owners, request = [uuid.UUID(owner) for owner in sys.argv[1].split(",")], uuid.UUID(sys.argv[2])
count, size = map(int, sys.argv[3:])
slowest = 0.0
for n in range(count):
    frame = events.Frame(Kind.FRAGMENT, request, 1, 0, n, 0, 0, 64, 8, 64, 64, 1, 8, bytes(size))
    live.keep(request, frame)
    began = time.monotonic()
    for owner in owners:
        events.publish_frame(owner, frame)
    slowest = max(slowest, time.monotonic() - began)
    time.sleep(0.01)
print(slowest)
"""


class Server:
    """A daphne with a data folder of its own and two people."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "DJANGO_SETTINGS_MODULE": "tests.generation.impatient",
            "TESSERA_DATA": str(folder),
        }
        people = [line.split() for line in self.python(PREPARE).splitlines()]
        (self.alice, self.alice_key), (self.bob, self.bob_key) = people
        daphne = [sys.executable, "-m", "core.bounded_daphne", "-b", "127.0.0.1", "-p", str(self.port)]
        command = [*daphne, "config.asgi:application"]
        self.log = (folder / "daphne.log").open("wb")
        self.process = psutil.Popen(command, cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log)

    def python(self, code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_up(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/accounts/login/", timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = await asyncio.to_thread(Server, tmp_path)
    async with asyncio.timeout(90):
        while not await asyncio.to_thread(made.is_up):
            assert made.process.poll() is None
            await asyncio.sleep(0.2)
    yield made
    await asyncio.to_thread(made.stop)


def open_and_never_read(server: Server) -> socket.socket:
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", server.port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /ws/studio/ HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Origin: http://127.0.0.1:{server.port}",
             "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
             f"Cookie: sessionid={server.alice_key}", "", ""]  # fmt: skip
    deaf.sendall("\r\n".join(lines).encode())
    return deaf


async def read_everything(server: Server, wanted: int) -> list[int]:
    """As the page does: acknowledge each frame. Gives the sequence numbers."""
    headers = {"Cookie": f"sessionid={server.bob_key}"}
    url, origin = f"ws://127.0.0.1:{server.port}/ws/studio/", f"http://127.0.0.1:{server.port}"
    got: list[int] = []
    async with connect(url, additional_headers=headers, origin=origin, compression=None) as page:  # type: ignore[arg-type]
        await page.recv()
        while len(got) < wanted:
            await read_one(page, got)
    return got


async def read_one(page: ClientConnection, got: list[int]) -> None:
    frame = await page.recv()
    if isinstance(frame, bytes):
        got.append(int.from_bytes(frame[24:28], "big"))
        await page.send(json.dumps({"type": "ack", "n": len(got)}))


async def test_a_client_that_never_reads_costs_bounded_memory_and_starves_nobody(server: Server) -> None:
    deaf = await asyncio.to_thread(open_and_never_read, server)
    reader = asyncio.create_task(read_everything(server, FRAMES * 3 // 4))
    await asyncio.sleep(2)
    before = highest = server.process.memory_info().rss
    arguments = (f"{server.alice},{server.bob}", str(uuid.uuid4()), str(FRAMES), str(SIZE))
    drawing = asyncio.create_task(asyncio.to_thread(server.python, DRAW, *arguments))
    while not drawing.done():
        highest = max(highest, server.process.memory_info().rss)
        await asyncio.sleep(0.05)
    # 80 MB were drawn for it, and without credit all of it would lie here (tried); it is owed eight frames.
    assert highest - before < 20 * 1024 * 1024
    assert float(await drawing) < 0.5, "publishing must not hold up a render"
    async with asyncio.timeout(30):
        got = await reader
    assert got == sorted(set(got)), "in order and each once"
    await asyncio.to_thread(expect_close, deaf)


MEGABYTE = 1024 * 1024
HUGE = 400
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


def post(server: Server, head: bytes, parts: Iterable[bytes]) -> tuple[bytes, int]:
    """Send a body to the login page. Gives the first line of the answer and by how much the server grew."""
    before = highest = server.process.memory_info().rss
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as rude:
        rude.sendall(b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\n" + FORM + head + b"\r\n")
        with contextlib.suppress(OSError):  # hung up in the middle
            for part in parts:
                rude.sendall(part)
                highest = max(highest, server.process.memory_info().rss)
        line = b""
        with contextlib.suppress(OSError):
            line = rude.makefile("rb").readline()
    return line, highest - before


def chunked(megabytes: int) -> Iterator[bytes]:
    yield from (b"100000\r\n" + bytes(MEGABYTE) + b"\r\n" for _ in range(megabytes))
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_nobody_fills_the_memory_with_a_body(server: Server, in_chunks: bool) -> None:
    length = b"Transfer-Encoding: chunked\r\n" if in_chunks else b"Content-Length: %d\r\n" % (HUGE * MEGABYTE)
    parts = chunked(HUGE) if in_chunks else (bytes(MEGABYTE) for _ in range(HUGE))
    line, grown = await asyncio.to_thread(post, server, length, parts)
    assert line == b"HTTP/1.1 413 Content Too Large\r\n"
    assert grown < 20 * MEGABYTE
    assert await asyncio.to_thread(server.is_up)


async def test_a_body_of_the_allowed_size_reaches_django_unparsed(server: Server) -> None:
    parts = list(chunked(20))
    line, grown = await asyncio.to_thread(post, server, b"Transfer-Encoding: chunked\r\n", parts)
    assert line.startswith(b"HTTP/1.1 4"), "Django's word on a form without a token"
    assert line.split()[1] != b"413"
    assert grown < 80 * MEGABYTE


def expect_close(deaf: socket.socket) -> None:
    deaf.settimeout(30)
    size = 0
    # Data that nobody took makes the system answer the close with a reset.
    with deaf, contextlib.suppress(ConnectionResetError):
        while data := deaf.recv(1 << 20):
            size += len(data)
    assert size < 10 * SIZE
