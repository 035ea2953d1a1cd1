"""The live store: newest preview only, a new run clears, late workers are ignored, a full disk is no failure."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation import live
from generation.engines.fragments import Kind
from generation.events import FRAME_LIMIT, HEADER, Frame
from tests import servers
from tests.portal import free_port

REQUEST = uuid.UUID("0190b7a4-0000-4000-8000-000000000001")


def fragment(sequence: int, *, index: int = 0, run: int = 1, data: bytes = b"webp") -> Frame:
    return Frame(Kind.FRAGMENT, REQUEST, run, index, sequence, 0, sequence * 8, 64, 8, 64, 64, sequence, 8, data)


def preview(sequence: int, *, index: int = 0, run: int = 1) -> Frame:
    return replace(fragment(sequence, index=index, run=run), kind=Kind.PREVIEW)


def everything() -> list[bytes]:
    return live.missing(REQUEST, run=0, have={}, limit=None)


def stored() -> list[tuple[str, int, int]]:
    found = [Frame.unpack(packed) for packed in everything()]
    return [(str(frame.kind), frame.index, frame.sequence) for frame in found]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """Of a real one."""
    with servers.redis() as (_, url):
        yield url


@pytest.fixture(params=["files", "redis"])
def store(request: pytest.FixtureRequest, settings: Any) -> None:
    """Both kinds keep the same promises."""
    settings.REDIS = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    live.drop(REQUEST)


@pytest.mark.usefixtures("store")
def test_frames_come_back_as_they_were() -> None:
    live.keep(REQUEST, fragment(0, data=b"\x00\xff" * 1000))
    assert everything() == [fragment(0, data=b"\x00\xff" * 1000).pack()]


@pytest.mark.usefixtures("store")
def test_only_the_newest_preview_of_each_picture_is_kept() -> None:
    for sequence in range(3):
        for index in range(2):
            live.keep(REQUEST, preview(sequence, index=index))
    live.keep(REQUEST, fragment(0))
    assert stored() == [("fragment", 0, 0), ("preview", 0, 2), ("preview", 1, 2)]


@pytest.mark.usefixtures("store")
def test_a_new_run_clears_the_old_one_and_a_late_worker_is_ignored() -> None:
    live.keep(REQUEST, fragment(0))
    live.keep(REQUEST, fragment(0, run=2))
    live.keep(REQUEST, fragment(1, run=1))
    assert [Frame.unpack(packed).run for packed in everything()] == [2]


@pytest.mark.usefixtures("store")
def test_missing_starts_where_the_reader_is() -> None:
    for sequence in range(12):
        live.keep(REQUEST, fragment(sequence))

    def numbers(run: int, have: int, limit: int | None) -> list[int]:
        packed = live.missing(REQUEST, run=run, have={(Kind.FRAGMENT, 0): have}, limit=limit)
        return [Frame.unpack(data).sequence for data in packed]

    assert numbers(1, 9, None) == [9, 10, 11]
    assert numbers(1, 2, 3) == [2, 3, 4]
    assert numbers(0, 9, 2) == [0, 1]


def test_drop_and_sweep_forget(stage: Path) -> None:
    other = uuid.uuid4()
    live.keep(REQUEST, fragment(0))
    live.keep(other, fragment(0))
    live.sweep({other})
    assert everything() == []
    live.drop(other)
    live.drop(other)
    assert list((stage / "live").iterdir()) == []
    live.sweep([])


@pytest.mark.usefixtures("store")
def test_the_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.live.have.BYTES_LIMIT", 5000)
    for sequence in range(10):
        live.keep(REQUEST, fragment(sequence, data=bytes(1000)))
    assert sum(map(len, everything())) <= 5000


@pytest.mark.usefixtures("store")
def test_what_was_dropped_is_forgotten() -> None:
    live.keep(REQUEST, fragment(0))
    live.drop(REQUEST)
    assert everything() == []


def test_a_redis_that_is_away_fails_nobody(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.REDIS = f"redis://127.0.0.1:{free_port()}/0"
    live.keep(REQUEST, fragment(0))
    assert "was not kept" in caplog.text
    assert everything() == []
    live.drop(REQUEST)


def test_a_disk_that_refuses_fails_nobody(stage: Path, caplog: pytest.LogCaptureFixture) -> None:
    (stage / "live").write_text("a file where the folder should be")
    live.keep(REQUEST, fragment(0))
    assert "was not kept" in caplog.text
    assert everything() == []


def test_a_frame_survives_the_journey_and_rubbish_does_not() -> None:
    frame = Frame(Kind.PREVIEW, REQUEST, 2, 3, 2**32 - 1, 65535, 1, 2, 3, 4, 5, 6, 65535, b"x")
    assert Frame.unpack(frame.pack()) == frame
    assert HEADER.size == 44
    assert len(fragment(0, data=bytes(240 * 1024)).pack()) < FRAME_LIMIT
    for rubbish in (
        b"",
        b"TF",
        b"XX" + frame.pack()[2:],
        b"TF\x02" + frame.pack()[3:],
        b"TF\x01\x09" + frame.pack()[4:],
    ):
        with pytest.raises(ValueError):
            Frame.unpack(rubbish)
