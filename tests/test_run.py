"""`manage.py run` as a person uses it: it starts, ends without a trace, starts again, changes nothing."""

import contextlib
import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management.base import CommandError
from django.db import OperationalError
from pytest_django import DjangoDbBlocker

from core.supervisor import Supervisor
from generation.management.commands import run
from generation.models import GenerationRequest
from generation.services.installation import Administrator
from tests.disk import fill, small_disk
from tests.generation.cluster import database, locked
from tests.portal import DATABASE, PASSWORD, ROOT, Portal, free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

STATE = (
    "from accounts.models import User; from generation.models import *; "
    "print(User.objects.count(), Checkpoint.objects.count(), GenerationRequest.objects.count(), Image.objects.count(), "
    "list(User.objects.values_list('password', flat=True)), "
    "list(Checkpoint.objects.values_list('pk', 'title', 'description')))"
)
FOUR_MORE = (
    "from generation.models import *; from generation.services.requests import request_submit; "
    "one = GenerationRequest.objects.get(checkpoint__family='diffusion'); "
    "request_submit(user=one.owner, project=one.project, checkpoint=one.checkpoint, "
    "params={**one.params, 'prompt': one.prompt, 'count': 4, 'steps': 100})"
)
PATIENCE = 240.0  # seconds for what takes a few: no test here is about how long it takes
RENAME = "from generation.models import Checkpoint; Checkpoint.objects.update(title='Ours', description='For us.')"


def test_it_starts_welcomes_stops_and_starts_again_unchanged(tmp_path: Path) -> None:
    # A space in the path, and a one-time password, as on the first day; and a proxy that is not for us.
    proxy = {"http_proxy": "http://127.0.0.1:9", "TESSERA_ADMIN_PASSWORD": ""}
    portal = Portal(tmp_path / "my data", arguments=[], settings=proxy)
    try:
        portal.start()
        wait_for(lambda: portal.output.count(": drawn") == 2 or not portal.is_ready())
        first = portal.output
        assert portal.url in first
        assert " ERROR " not in first
        told = re.findall(r"Password\s+(\S{12})", first[: first.index("Starting web")])
        assert re.findall(r"Password\s+(\S{12})", first) == told * 2  # before it is kept, and with the address
        assert portal.stop() == []
        portal.manage("shell", "-v", "0", "-c", RENAME)
        before = portal.manage("shell", "-v", "0", "-c", STATE)
        portal.start()
        wait_for(lambda: portal.url in portal.output[len(first) :])
        assert "Password" not in portal.output[len(first) :]
        assert portal.manage("shell", "-v", "0", "-c", STATE) == before
    finally:
        assert portal.stop() == []
    assert before.split()[:4] == ["1", "2", "2", "2"]
    assert [path for path in (portal.data, *portal.data.rglob("*")) if path.stat().st_mode & 0o077] == []


def test_a_web_process_is_killed_and_ctrl_c_comes_in_mid_picture(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data", arguments=[]).start()
    try:
        wait_for(lambda: ("running", 1) in requests(portal))
        web = next(child for child in portal.children() if "asgi" in " ".join(child.cmdline()))
        os.kill(web.pid, signal.SIGKILL)
        wait_for(lambda: not web.is_running() or web.status() == psutil.STATUS_ZOMBIE)
        wait_for(portal.is_ready)
        wait_for(lambda: requests(portal) == [("completed", 1)] * 2)
        portal.manage("shell", "-v", "0", "-c", FOUR_MORE)
        wait_for(lambda: ("running", 1) in requests(portal))
    finally:
        assert portal.stop() == []
    assert sorted(requests(portal)) == [("completed", 1), ("completed", 1), ("queued", 0)]


def test_ctrl_c_while_it_is_prepared_is_a_clean_end(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data")
    portal.manage("migrate", "-v0")
    with locked(portal.data):
        portal.begin()
        wait_for(lambda: portal.has_open(DATABASE))
        assert portal.stop() == []
    assert "Traceback" not in portal.output


def test_a_terminal_that_was_closed_keeps_nobody_alive(tmp_path: Path) -> None:
    portal = Portal(tmp_path / "data", settings={"TESSERA_LOG_LEVEL": "ERROR"})
    reader, writer = os.pipe()
    portal.begin(writer)
    os.close(writer)
    wait_for(portal.is_ready)
    os.close(reader)
    assert portal.stop() == []


def test_a_first_start_on_a_full_disk_can_be_done_again(
    tmp_path: Path, settings: Any, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD = "me@example.org", PASSWORD
    with small_disk(tmp_path / "disk", kilobytes=8 * 1024) as disk, django_db_blocker.unblock():
        ballast = fill(disk)
        for kilobytes in (100, 300, 400):
            os.truncate(ballast, (8 * 1024 - kilobytes) * 1024)
            with database(disk), pytest.raises(CommandError, match="full"):
                run.Command().prepare()
        ballast.unlink()
        with database(disk):
            assert run.Command().prepare() == Administrator("me@example.org")


class Slow(Supervisor):
    """Is healthy only at the second look."""

    def watch(self, until: Callable[[], bool], seconds: float | None = None) -> bool:
        """The end of serve() is not waited for."""
        return seconds is None


@pytest.mark.django_db
def test_a_start_that_takes_too_long_is_told_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> list[GenerationRequest]:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(run, "welcome_submit", full)
    out = io.StringIO()
    run.Command(stdout=out).serve(Slow([]), Administrator("me@example.org", "a secret word"), welcome=True)
    said = out.getvalue()
    assert said.index("Not healthy") < said.index(run.address()) < said.index("a secret word")
    assert "welcome pictures were not drawn. database or disk is full" in said
    out = io.StringIO()
    run.Command(stdout=out).announce(None)
    assert "createsuperuser" in out.getvalue()


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
        ("TESSERA_DATA", "/proc/nope"),
        ("TESSERA_HOST", "192.0.2.1"),
        ("TESSERA_HOST", "no..such..host"),
        ("TESSERA_ADMIN_PASSWORD", "password"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    said = refused(Portal(tmp_path / "data", settings={name: value}))
    assert name.removesuffix("_FILE") in said
    assert "Traceback" not in said
    assert name == "TESSERA_PORT" or "TESSERA_PORT" not in said
    assert PASSWORD not in said


def requests(portal: Portal) -> list[tuple[str, int]]:
    """State and attempt of every request."""
    with contextlib.closing(sqlite3.connect(portal.data / DATABASE)) as connection:
        return connection.execute("SELECT state, attempt FROM generation_generationrequest").fetchall()


def refused(portal: Portal) -> str:
    """What it says when it does not start."""
    command = [sys.executable, "manage.py", "run", "--no-welcome"]
    done = subprocess.run(
        command, cwd=ROOT, env=portal.environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is true, however slow the machine is; fails when it never becomes so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
