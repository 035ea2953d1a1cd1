"""The supervisor: it never gives up, not after a thousand deaths and not when the system starts no process."""

import sys
import time
from pathlib import Path

import pytest

from core import supervisor
from core.supervisor import Child, Supervisor


def test_a_child_may_die_thousands_of_times() -> None:
    child = Child("short", [sys.executable, "-c", ""], {}, deaths=5000)
    child.start()
    assert child.process is not None
    child.process.wait()
    child.check()
    assert child.deaths == 5001
    assert supervisor.LONGEST_PAUSE - 1 < child.restart_at - time.monotonic() <= supervisor.LONGEST_PAUSE


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    program = tmp_path / "program"
    late = Child("late", [str(program)], {})
    other = Child("other", [sys.executable, "-c", "import time; time.sleep(60)"], {})
    late.start()
    other.start()
    family = Supervisor([late, other])
    assert not family.watch(lambda: late.process is not None, 0.5)
    assert late.deaths > 1
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    assert family.watch(lambda: late.process is not None, 10)
    began = time.monotonic()
    family.stop()
    assert time.monotonic() - began < supervisor.STOP_SECONDS
