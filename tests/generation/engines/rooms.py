"""What tests with real engine rooms share: tiny checkpoints on disk, settings, and asking whether a process lives."""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from generation.engines.client import RoomClient, RoomSettings
from generation.engines.fragments import Kind, Note, Words
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment, Figures

PATIENCE = 20.0  # seconds until a process must have ended: far above what it takes, for a busy machine
ROOT = Path(__file__).resolve().parents[3]
# one thread: tiny networks are slower with more. Stalls are short enough to wait for, long enough for a busy machine
SETTINGS = RoomSettings(device="cpu", threads=1, stall_seconds=60, load_seconds=240, cancel_seconds=30)

# speaks the protocol without weights: says that it is ready, takes one wish, and goes on as the test wants
ACTOR = """
import argparse, socket
from generation.engines.protocol import *
parser = argparse.ArgumentParser()
parser.add_argument("--fd", type=int)
sock = socket.socket(fileno=parser.parse_known_args()[0].fd)
channel = Channel(sock)
def ready():
    channel.send(Frame(Message.STATUS, header=RoomStatus(1, "cpu", (), 1, 2).to_header()))
    return channel.receive().number
"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Everything one wish gave."""

    notes: list[Note]
    fragments: list[EncodedFragment]
    finals: list[EncodedFragment]
    figures: list[Figures]
    words: list[Words] = field(default_factory=list)


def wish(*, seed: int = 7, count: int = 1, steps: int | None = None, edge: int = 32) -> GenerationParams:
    """A cat."""
    return GenerationParams("a cat on white", edge, edge, seed, count=count, steps=steps)


LONG = wish(count=4, steps=150)


def draw(room: RoomClient, spec: CheckpointSpec, params: GenerationParams) -> Drawn:
    """To the end."""
    drawn = Drawn([], [], [], [])
    for reply in room.generate(spec, params):
        if isinstance(reply, Note):
            drawn.notes.append(reply)
        elif isinstance(reply, Figures):
            drawn.figures.append(reply)
        elif isinstance(reply, Words):
            drawn.words.append(reply)
        else:
            (drawn.finals if reply.kind is Kind.FINAL else drawn.fragments).append(reply)
    return drawn


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Rooms that are opened from now on run `code`, called as the room is, instead of the room itself."""
    script, starter = folder / "stand_in.py", folder / "python"
    script.write_text(f"import sys\nsys.path[:0] = [{str(ROOT)!r}]\ndel sys.argv[1:3]  # -m room\n{code}")
    starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    starter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(starter))


def is_gone(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether no such process is left (a zombie counts as left) after at most `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def has_ended(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether an orphan runs no more after at most `seconds`; when its zombie goes is up to the system."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def open_descriptors() -> set[str]:
    """Sockets and pipes of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except FileNotFoundError:
            continue
    return {line for line in found if "socket" in line or "pipe" in line}
