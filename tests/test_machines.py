"""Several machines by settings alone, in the short form of `make machines`; and the core tests on PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers
from tests.machines_play import play
from tests.portal import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
CORE = ("test_services_requests", "test_services_leases", "test_scheduler_claim", "test_services_trash")


def test_a_device_is_lost_and_every_request_completes(tmp_path: Path) -> None:
    for name in ("postgres", "redis-server"):
        servers.needed(name)
    rows = play(tmp_path, people=6, requests=30)
    missed = [f"{row.name}: {row.value:g}, {row.remark}" for row in rows if row.holds is False]
    assert missed == []


def test_requests_leases_and_scheduler_on_postgresql() -> None:
    with servers.postgres() as (_, database):
        files = [f"tests/generation/{name}.py" for name in CORE]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TESSERA_DATABASE_URL": database},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
