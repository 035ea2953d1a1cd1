"""`manage.py run` as a person uses it: it starts, ends without a trace, starts again, changes nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.portal import PASSWORD, ROOT, Portal, free_port

pytestmark = pytest.mark.processes

STATE = (
    "from accounts.models import User; from generation.models import *; "
    "print(User.objects.count(), Checkpoint.objects.count(), GenerationRequest.objects.count(), Image.objects.count(), "
    "list(User.objects.values_list('password', flat=True)), list(Checkpoint.objects.values_list('pk', flat=True)))"
)


def test_it_starts_welcomes_stops_and_starts_again_unchanged(tmp_path: Path) -> None:
    # A space in the path, and a one-time password, as on the first day.
    portal = Portal(tmp_path / "my data", arguments=[], settings={"TESSERA_ADMIN_PASSWORD": ""})
    try:
        portal.start()
        wait_for(lambda: portal.output.count(": drawn") == 2 or not portal.is_ready(), seconds=180)
        first = portal.output
        assert portal.url in first
        assert re.search(r"Password\s+\S{12}", first)
        assert portal.stop() == []
        before = portal.manage("shell", "-v", "0", "-c", STATE)
        portal.start()
        assert "Password" not in portal.output[len(first) :]
        assert portal.manage("shell", "-v", "0", "-c", STATE) == before
    finally:
        assert portal.stop() == []
    assert before.split()[:4] == ["1", "2", "2", "2"]


def test_ctrl_c_takes_at_most_five_seconds_even_in_mid_picture(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data", arguments=[]).start()
    wait_for(lambda: len(portal.family()) > 3, seconds=60)
    began = time.monotonic()
    assert portal.stop() == []
    assert time.monotonic() - began < 10


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data").start()
    family = portal.family()
    assert portal.process is not None
    portal.process.kill()
    portal.process.wait()
    _, left = psutil.wait_procs(family, timeout=15)
    for process in left:
        process.kill()
    assert left == []


def test_a_killed_web_process_comes_back(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data").start()
    try:
        web = next(p for p in portal.family() if "daphne" in " ".join(p.cmdline()))
        os.kill(web.pid, signal.SIGKILL)
        wait_for(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE, seconds=10)
        wait_for(portal.is_ready, seconds=60)
    finally:
        assert portal.stop() == []


def test_a_busy_port_and_a_second_supervisor_are_one_sentence_each(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data").start()
    try:
        other = Portal(tmp_path / "other", port=portal.port)
        assert f"TESSERA_PORT={portal.port}" in refused(other)
        same = Portal(tmp_path / "data", port=free_port())
        assert "already runs" in refused(same)
    finally:
        assert portal.stop() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TESSERA_PORT", "eighty"),
        ("TESSERA_DEVICE", "toaster"),
        ("TESSERA_DEBUG", "perhaps"),
        ("TESSERA_LEASE_SECONDS", "0"),
        ("TESSERA_SECRET_KEY_FILE", "/nowhere/key"),
        ("TESSERA_DATA", str(ROOT / "manage.py")),
        ("TESSERA_ADMIN_EMAIL", "nobody"),
        ("TESSERA_TIME_ZONE", "Mars/Olympus"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    said = refused(Portal(tmp_path / "data", settings={name: value}))
    assert name.removesuffix("_FILE") in said
    assert "Traceback" not in said
    assert PASSWORD not in said


def refused(portal: Portal) -> str:
    """What it says when it does not start."""
    command = [sys.executable, "manage.py", "run", "--no-welcome"]
    done = subprocess.run(
        command, cwd=ROOT, env=portal.environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def wait_for(condition: object, *, seconds: float) -> None:
    """Until it is true; fails when it never becomes so."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
