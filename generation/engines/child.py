"""One engine room as a child process: start, listen, kill, bury. The client decides when.

Must not import torch or Django.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Full, Queue

from generation.engines.errors import EngineError, RoomError
from generation.engines.limits import NO_LIMITS, Limits
from generation.engines.protocol import Channel, Frame, Message, ProtocolError, RoomStatus, ShortReadError, error_of

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ("SECRET", "PASSWORD", "TOKEN", "API_KEY", "DATABASE_URL")
# Blocks up to the first limit stay in the heap when they are free, so that the next one of their size need not be
# mapped and cleared anew; what is free at the heap's end beyond the second goes back at once, and all of it whenever a
# checkpoint leaves (heap.py). SD 1.5's shape at half width, 256 pixels, 4 steps, on two cores: 2.55 s and hardly a new
# page a picture, instead of 3.02 s and 110,000 with a first limit of 4 MiB.
#
# torch may take huge pages (Linux, 2 MB) for what is larger than one of them: reading weights then misses fewer
# translations. Two and eight rows of 2048 times weights of 92 MB, two cores of a Xeon with AVX10: 3.9 and 4.6 ms
# instead of 4.9 and 6.4, and torch's own linear gains as much.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(256 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
    "THP_MEM_ALLOC_ENABLE": "1",
}
GRACE_SECONDS = 2.0  # between the end of the conversation and the end of the process
QUEUED_FRAMES = 64  # a consumer that is slow slows the room down instead of filling memory


class Child:
    """A running room. The listener thread takes every frame off the socket and buries the process at its end."""

    def __init__(self, *, device: str, threads: int, log_level: str, limits: Limits = NO_LIMITS, nice: int = 0) -> None:
        """Raises RoomError when the system starts no process."""
        ours, theirs = socket.socketpair()
        try:
            command = ["--device", device, "--threads", str(threads), "--log-level", log_level, "--nice", str(nice)]
            self._process = _spawn(theirs.fileno(), [*command, "--limits", json.dumps(asdict(limits))], threads)
        except OSError as error:
            ours.close()
            raise RoomError(f"The engine room could not be started: {error.strerror}.") from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.channel = Channel(ours)
        self.status: RoomStatus | None = None
        self._frames: Queue[Frame | None] = Queue(QUEUED_FRAMES)
        self._ready = threading.Event()
        self._over = threading.Event()
        self._refusal: EngineError | None = None
        self._broken: ProtocolError | None = None
        self._fate = ""  # why we ended it ourselves
        self._left = threading.Event()  # nobody takes frames any more
        self._listener = threading.Thread(target=self._listen, name=f"room-{self.pid}", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """False as soon as the conversation has ended, whatever the process does."""
        return not self._over.is_set()

    def wait_ready(self, seconds: float) -> bool:
        """Whether it has opened, after at most `seconds`. Raises the error with which it refused or died."""
        if self._ready.wait(seconds) and self.status is None:
            raise self.death()
        return self.status is not None

    def next_frame(self, seconds: float) -> Frame | None:
        """The next frame that belongs to a wish; None when none came. Raises RoomError once the room is gone."""
        try:
            frame = self._frames.get(timeout=seconds)
        except Empty:
            frame = None
        else:
            if frame is None:
                raise self.death()
        if frame is None and not self.alive and self._frames.empty():
            raise self.death()
        return frame

    def death(self) -> EngineError:
        """Why it ended, in words. Waits for the end."""
        self._listener.join(GRACE_SECONDS * 2)
        if self._refusal is not None:
            return self._refusal
        if self._broken is not None:
            return self._broken
        reason = self._fate or _words(self._process.poll())
        return RoomError(reason, hint="The next request gets a fresh room.")

    def say(self, frame: Frame) -> bool:
        """Send, when it still listens and reads, and whether it was sent; a lost word is no error."""
        with contextlib.suppress(OSError):
            return self.channel.offer(frame)
        return False

    def kill(self) -> None:
        """End it and everything it started, at once. Harmless when repeated."""
        self._left.set()
        self._end("The engine room was stopped while it worked.")
        if threading.current_thread() is not self._listener:
            self._listener.join(GRACE_SECONDS * 2)
            if self._listener.is_alive():  # the system cannot end it yet, say inside a driver
                self.channel.hang_up()
                self._listener.join(GRACE_SECONDS * 3)

    def close(self) -> None:
        """Say goodbye, then kill what does not leave."""
        self._left.set()
        self.say(Frame(Message.BYE))
        self._over.wait(GRACE_SECONDS)
        self.kill()

    def _listen(self) -> None:
        try:
            while frame := self.channel.receive():
                self._sort(frame)
        except (ShortReadError, OSError) as error:
            logger.debug("The room's socket ended: %s", error)
        except ProtocolError as error:
            self._broken = error
        finally:
            self._bury()

    def _sort(self, frame: Frame) -> None:
        if frame.type is Message.STATUS:
            self.status = RoomStatus.from_frame(frame)
            self._ready.set()
        elif frame.type is Message.FAILED and not frame.number:
            self._refusal = error_of(frame)
        else:
            self._keep(frame)

    def _keep(self, frame: Frame) -> None:
        """Even when the process has ended: its last word may be the reason."""
        while True:
            with contextlib.suppress(Full):
                return self._frames.put(frame, timeout=0.5)
            if self._left.is_set():
                return None

    def _end(self, fate: str) -> None:
        """Kill it; `fate` is the reason unless it had ended by itself, or for another reason of ours."""
        if self._process.poll() is None:
            self._fate = self._fate or fate
        _kill_group(self._process)

    def _bury(self) -> None:
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._end("The engine room hung up and was ended.")
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                # Nobody waits for it any longer: the next wish gets a fresh room, whatever becomes of this one.
                logger.critical("Process %d of the engine room does not end, though it was killed", self.pid)
        self.channel.close()
        self._over.set()
        self._ready.set()
        with contextlib.suppress(Full):
            self._frames.put_nowait(None)


def _spawn(descriptor: int, arguments: Sequence[str], threads: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "generation.engines.room", "--fd", str(descriptor), *arguments]
    # Linux ties a child to the thread that started it, so only a main thread may ask to be outlived by no child
    if threading.current_thread() is threading.main_thread():
        command += ["--die-with", str(os.getpid())]
    kept = {name: value for name, value in os.environ.items() if not any(word in name for word in SECRETS)}
    environment = {**ALLOCATOR, **kept}
    environment["HF_HUB_OFFLINE"] = "1"  # the room sets the rest itself, before it imports a library
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.Popen(  # noqa: S603 our own module, no word of it comes from a person
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=2,  # what a library prints must not mix with what a command prints
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C in the terminal is for the parent to decide about
    )


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def _words(code: int | None) -> str:
    if code is None:
        return "The engine room does not answer any more."
    if code >= 0:
        return f"The engine room ended unexpectedly (exit code {code})."
    if -code == signal.SIGKILL:
        return "The engine room was killed (signal 9), perhaps because memory ran out."
    return f"The engine room crashed (signal {-code}, {signal.Signals(-code).name})."
