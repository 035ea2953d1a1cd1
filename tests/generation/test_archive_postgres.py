"""Backup and restore of a portal that stands on PostgreSQL: into another database, row by row the same."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.generation.cluster import ROOT, environment
from tests.servers import postgres

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

USE = "from django.conf import settings; from tests.generation.test_archive import use; use(settings)"
MORE = "from accounts.models import User; User.objects.create_user('late@example.org'); print(User.objects.count())"


def manage(data: Path, address: str, *words: str) -> str:
    """A management command of the portal on this database; what it said."""
    data.mkdir(mode=0o700, exist_ok=True)
    own = {**environment(data), "TESSERA_DATABASE_URL": address, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def content(archive: Path) -> dict[str, list[bytes]]:
    """Every table's rows, in any order."""
    with zipfile.ZipFile(archive) as opened:
        return {name: sorted(opened.read(name).splitlines()) for name in opened.namelist() if name[:8] == "database"}


def test_a_portal_on_postgresql_comes_back(tmp_path: Path) -> None:
    first, second, again = tmp_path / "first.zip", tmp_path / "second.zip", tmp_path / "again.zip"
    with postgres() as (_, address):
        manage(tmp_path / "one", address, "migrate", "-v0")
        assert "Traceback" not in manage(tmp_path / "one", address, "shell", "-v", "0", "-c", USE)
        assert "3 files of pictures" in manage(tmp_path / "one", address, "backup", str(first))
        assert "--force" in manage(tmp_path / "one", address, "restore", str(first))
        assert "3" in manage(tmp_path / "one", address, "shell", "-v", "0", "-c", MORE)
        told = manage(tmp_path / "one", address, "restore", "--force", str(first))
        assert "Restored" in told and "before-restore" in told, told
        assert "3 files of pictures" in manage(tmp_path / "one", address, "backup", str(second))
        assert content(second) == content(first)
        assert sum(map(len, content(first).values())) > 50
        assert "3" in manage(tmp_path / "one", address, "shell", "-v", "0", "-c", MORE), "numbers go on"
    with postgres() as (_, address):
        assert "Restored" in manage(tmp_path / "two", address, "restore", str(first))
        manage(tmp_path / "two", address, "backup", str(again))
        assert content(again) == content(first)
        assert len([one for one in (tmp_path / "two" / "media").rglob("*") if one.is_file()]) == 3
    other = tmp_path / "three"
    assert "of postgresql" in manage(other, "", "restore", str(first))
