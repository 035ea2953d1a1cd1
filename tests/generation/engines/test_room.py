"""A real room in a real process: what it draws, and what happens when it is killed, stopped, canceled or left alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from generation.engines.client import RoomBusyError, RoomClient, RoomSettings
from generation.engines.errors import (
    CanceledError,
    CheckpointError,
    DeviceError,
    InvalidParamsError,
    RoomError,
    RoomStalledError,
)
from generation.engines.fragments import LOADED, LOADING
from generation.engines.params import CheckpointSpec
from generation.engines.protocol import EncodedFragment
from tests.generation.engines import tiny
from tests.generation.engines.drawing import pictures, png
from tests.generation.engines.rooms import LONG, SETTINGS, draw, has_ended, is_gone, open_descriptors, wish

pytestmark = pytest.mark.processes

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    folder = tiny.save_diffusion(tmp_path_factory.mktemp("diffusion"))
    return CheckpointSpec("tiny-diffusion", str(folder), "diffusion")


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> CheckpointSpec:
    return CheckpointSpec("tiny-mosaic", str(tiny.save_mosaic(tmp_path_factory.mktemp("mosaic"))), "multimodal")


@pytest.fixture(scope="module")
def room() -> Iterator[RoomClient]:
    """Shared, because opening one takes seconds; each test leaves it able to draw."""
    with RoomClient(SETTINGS) as client:
        yield client


def first_fragment(replies: Iterator[object]) -> None:
    """Go on until something is seen."""
    next(reply for reply in replies if isinstance(reply, EncodedFragment))


def test_it_draws_tells_and_counts(room: RoomClient, diffusion: CheckpointSpec, mosaic: CheckpointSpec) -> None:
    room.unload()
    first = draw(room, diffusion, wish(count=2, steps=4))
    assert [note.kind for note in first.notes][-2:] == [LOADING, LOADED]
    assert [(final.index, final.seed) for final in first.finals] == [(0, 7), (1, 8)]
    assert len(first.fragments) == 8
    [figures] = first.figures
    assert 0 < figures.load_seconds <= figures.first_fragment_seconds <= figures.total_seconds
    assert figures.peak_memory_bytes > 0
    assert (figures.device, figures.checkpoint) == ("cpu", "tiny-diffusion")
    status = room.status()
    assert status is not None
    assert [name for name, _ in status.resident] == ["tiny-diffusion"]

    second = draw(room, mosaic, wish())
    assert [note.kind for note in second.notes] == [LOADING, LOADED]
    status = room.status()
    assert status is not None
    assert [name for name, _ in status.resident] == ["tiny-diffusion", "tiny-mosaic"], "both fit"
    assert status.ledger["budget"] > status.ledger["baseline"] > 0
    assert [one["name"] for one in status.ledger["holdings"]] == ["tiny-diffusion", "tiny-mosaic"]
    assert len(second.fragments) >= 8
    assert draw(room, mosaic, wish()).notes == [], "warm now"
    room.unload()
    status = room.status()
    assert status is not None
    assert status.resident == ()
    assert status.memory_used > 0
    assert status.memory_total > status.memory_used


def test_it_edits_and_describes(room: RoomClient, tmp_path: Path) -> None:
    spec = CheckpointSpec("tiny-looking", str(tiny.save_looking(tmp_path / "looking")), "multimodal")
    [source] = draw(room, spec, wish()).finals
    edited = draw(room, spec, replace(wish(count=2), capability="edit", source=source.data))
    assert len(edited.finals) == 2 and len(edited.fragments) >= 16 and edited.words == []
    assert source.data != edited.finals[0].data != edited.finals[1].data
    described = draw(room, spec, replace(wish(), capability="describe", prompt="a cat", source=png(pictures()[0])))
    assert described.finals == described.fragments == []
    assert [words.final for words in described.words] == [*[False] * (len(described.words) - 1), True]
    assert described.words[-1].text and described.words[-1].text == described.words[-2].text
    [figures] = described.figures
    assert 0 < figures.first_fragment_seconds <= figures.total_seconds


def test_the_same_seed_gives_the_same_bytes_in_another_room(room: RoomClient, mosaic: CheckpointSpec) -> None:
    before = draw(room, mosaic, wish())
    old = room.start().pid
    room.close()
    assert room.status() is None
    assert is_gone(old)
    after = draw(room, mosaic, wish())
    assert room.start().pid != old
    assert after.finals == before.finals
    assert after.fragments == before.fragments
    assert draw(room, mosaic, wish(seed=8)).finals[0].data != after.finals[0].data


def test_on_a_cpu_it_gives_way_to_others() -> None:
    with RoomClient(replace(SETTINGS, nice=7)) as client:
        client.start()
        status = client.status()
        assert status is not None
        # Linux counts it by thread: the one that draws gives way, and what it started for that.
        nices = [os.getpriority(os.PRIO_PROCESS, int(one.name)) for one in Path(f"/proc/{status.pid}/task").iterdir()]
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, status.pid) == min(own + 7, 19)
        assert own in nices, "who listens stays prompt"


def test_kill_nine_fails_the_one_wish_and_the_next_gets_a_fresh_room(
    room: RoomClient, diffusion: CheckpointSpec
) -> None:
    pid = room.start().pid
    replies = room.generate(diffusion, LONG)
    first_fragment(replies)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RoomError, match=r"killed \(signal 9\), perhaps because memory ran out") as caught:
        list(replies)
    assert caught.value.retryable
    assert is_gone(pid), "no zombie is left"
    assert room.status() is None
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1
    assert room.start().pid != pid


def test_a_room_that_dies_before_it_hears_of_a_wish_costs_it_nothing(
    room: RoomClient, diffusion: CheckpointSpec, caplog: pytest.LogCaptureFixture
) -> None:
    pid = room.start().pid
    os.kill(pid, signal.SIGSTOP)  # so that the wish is surely on its way when it dies
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1
    assert room.start().pid != pid
    assert "gone before it began" in caplog.text
    # Who was the first of a fresh room, or was heard of, has no second try: it may be what killed it.
    pid = room.start().pid
    replies = room.generate(diffusion, LONG)
    next(replies)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RoomError):
        list(replies)


def test_a_room_that_hangs_is_ended_in_time(diffusion: CheckpointSpec) -> None:
    with RoomClient(SETTINGS) as room:
        draw(room, diffusion, wish(steps=2))
        room.settings = replace(SETTINGS, stall_seconds=5)  # enough for one step of a warm network on a busy machine
        replies = room.generate(diffusion, LONG)
        first_fragment(replies)
        status = room.status()
        assert status is not None
        os.kill(status.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(RoomStalledError, match="no sign of progress for 5 seconds"):
            list(replies)
        assert 4 < time.monotonic() - began < 60
        assert is_gone(status.pid)


def test_cancel_stops_within_a_step_and_the_room_lives(room: RoomClient, diffusion: CheckpointSpec) -> None:
    pid = room.start().pid
    replies = room.generate(diffusion, LONG)
    first_fragment(replies)
    began = time.monotonic()
    threading.Thread(target=room.cancel).start()
    with pytest.raises(CanceledError):
        list(replies)
    assert time.monotonic() - began < 30
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1
    assert room.start().pid == pid
    room.cancel()  # nothing is drawn: nothing happens
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1


def test_a_room_that_does_not_obey_is_killed_after_cancel(diffusion: CheckpointSpec) -> None:
    settings = RoomSettings(device="cpu", threads=1, load_seconds=240, cancel_seconds=1)
    with RoomClient(settings) as room:
        pid = room.start().pid
        os.kill(pid, signal.SIGSTOP)
        replies = room.generate(diffusion, LONG)
        threading.Timer(0.5, room.cancel).start()
        with pytest.raises(CanceledError):
            list(replies)
        assert is_gone(pid)


def test_leaving_early_cancels_and_kill_from_another_thread_ends(room: RoomClient, diffusion: CheckpointSpec) -> None:
    with closing(room.generate(diffusion, LONG)) as replies:  # type: ignore[type-var]
        first_fragment(replies)
    pid = room.start().pid
    replies = room.generate(diffusion, LONG)
    first_fragment(replies)
    assert room.start().pid == pid
    threading.Thread(target=room.kill).start()
    with pytest.raises(RoomError, match="was stopped while it worked"):
        list(replies)
    assert is_gone(pid)


def test_one_wish_at_a_time_and_ticks_while_it_is_drawn(room: RoomClient, diffusion: CheckpointSpec) -> None:
    ticks: list[float] = []
    room.start()
    room.unload()
    replies = room.generate(diffusion, wish(steps=2), tick=lambda: ticks.append(time.monotonic()))
    next(replies)
    with pytest.raises(RoomBusyError):
        next(room.generate(diffusion, wish()))
    list(replies)
    replies = room.generate(diffusion, LONG)
    first_fragment(replies)
    with pytest.raises(RoomBusyError):
        next(room.generate(diffusion, wish()))
    room.cancel()
    with pytest.raises(CanceledError):
        list(replies)
    gaps = [later - earlier for earlier, later in zip(ticks, ticks[1:], strict=False)]
    assert ticks
    assert max(gaps, default=0) < 2, "half a second, and patience with a busy machine"


def test_what_tick_raises_ends_the_wish_and_the_room_stays(room: RoomClient, diffusion: CheckpointSpec) -> None:
    pid = room.start().pid

    def tick() -> None:
        raise LookupError("The lease was lost.")

    with pytest.raises(LookupError):
        list(room.generate(diffusion, LONG, tick=tick))
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1
    assert room.start().pid == pid


def test_a_wrong_wish_fails_alone(room: RoomClient, diffusion: CheckpointSpec, tmp_path: Path) -> None:
    pid = room.start().pid
    with pytest.raises(InvalidParamsError, match="can draw 32x32"):
        draw(room, diffusion, wish(edge=48))
    with pytest.raises(CheckpointError, match="no folder"):
        draw(room, CheckpointSpec("lost", str(tmp_path / "lost"), "diffusion"), wish())
    for file in Path(diffusion.path).rglob("*"):
        copy = tmp_path / file.relative_to(diffusion.path)
        copy.mkdir() if file.is_dir() else copy.write_bytes(file.read_bytes())
    weights = next((tmp_path / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(CheckpointError) as caught:
        draw(room, CheckpointSpec("corrupt", str(tmp_path), "diffusion"), wish())
    assert "Traceback" not in caught.value.message
    status = room.status()
    assert status is not None
    assert "corrupt" not in [name for name, _ in status.resident]
    assert len(draw(room, diffusion, wish(steps=2)).finals) == 1
    assert room.start().pid == pid


def test_a_device_that_is_not_there_is_said_at_the_start() -> None:
    with RoomClient(RoomSettings(device="cuda")) as room, pytest.raises(DeviceError, match="cuda"):
        room.start()


PARENT = """
import sys
from generation.engines.client import RoomClient
from tests.generation.engines.rooms import LONG, SETTINGS
from generation.engines.params import CheckpointSpec
room = RoomClient(SETTINGS)
print(room.start().pid, "torch" in sys.modules, flush=True)
for reply in room.generate(CheckpointSpec("tiny", sys.argv[1], "diffusion"), LONG):
    print(type(reply).__name__, flush=True)
"""


def test_the_room_dies_with_its_parent(diffusion: CheckpointSpec) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    command = [sys.executable, "-c", PARENT, diffusion.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid, has_torch = parent.stdout.readline().split()
        assert has_torch == "False"
        while parent.stdout.readline().strip() != "EncodedFragment":
            pass
        parent.kill()
        assert has_ended(int(pid))


def test_no_descriptor_and_no_thread_is_left() -> None:
    before, threads = open_descriptors(), threading.active_count()
    with RoomClient(SETTINGS) as room:
        pid = room.start().pid
    room.close()
    assert is_gone(pid)
    assert open_descriptors() == before
    assert threading.active_count() == threads
