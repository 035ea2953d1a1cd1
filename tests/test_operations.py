"""Every command that docs/operations.md tells operators to type is run by a test, or it is said why none can."""

import ast
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from accounts.models import User
from tests.conftest import PASSWORD
from tests.portal import ROOT

PAGE = ROOT / "docs" / "operations.md"
COMMAND = re.compile(
    r"manage\.py [a-z_]+(?: --database default)?"
    r"|(?<=`)make [a-z]+|=3 make [a-z]+"
    r"|pip install [^`\n]+"
    r"|python -m generation\.[a-z.]+"
    r"|docker compose [a-z]+"
    r"|(?<=`)(?:cp|chmod|chown|systemctl|apt|npm|psql|nginx|redis-cli) [^`\n]+"
)
DOCKER = "not run: no Docker is here; tests/test_deploy.py reads the compose file"
RUN_BY = {
    "manage.py add_checkpoint": "test_command_add_checkpoint.py::test_it_draws_before_it_is_offered",
    "manage.py backup": "test_archive.py::test_a_portal_comes_back_to_the_byte",
    "manage.py changepassword": "test_operations.py::test_a_forgotten_password_is_set_anew",
    "manage.py check": "test_operations.py::test_the_checks_find_nothing_wrong",
    "manage.py check --database default": "test_operations.py::test_the_checks_find_nothing_wrong",
    "manage.py cluster": "test_machines.py::test_a_device_is_lost_and_every_request_completes",
    "manage.py createsuperuser": "test_operations.py::test_another_administrator_is_made",
    "manage.py generate": "test_command_generate.py::test_a_starter_draws_the_same_bytes_in_two_processes",
    "manage.py make_certificate": "test_command_make_certificate.py::test_the_key_is_private_and_the_pair_signs",
    "manage.py prepare": "test_machines.py::test_a_device_is_lost_and_every_request_completes",
    "manage.py redraw": "test_redraw.py::test_a_picture_is_drawn_again_to_the_same_bytes",
    "manage.py restore": "test_archive.py::test_a_portal_comes_back_to_the_byte",
    "manage.py run": "test_run.py::test_it_starts_welcomes_stops_and_starts_again_unchanged",
    "manage.py shell": "test_migrations.py::test_the_command_of_the_page_mends_it",
    "manage.py train_starter": "test_train_starter.py::"
    "test_it_learns_goes_on_after_a_kill_and_leaves_a_folder_that_draws",
    "manage.py web": "test_machines.py::test_a_device_is_lost_and_every_request_completes",
    "make chaos": "test_chaos.py::test_what_was_accepted_ends_well",
    "make machines": "test_machines.py::test_a_device_is_lost_and_every_request_completes",
    "make run": "test_run.py::test_it_starts_welcomes_stops_and_starts_again_unchanged",
    'pip install ".[cluster]"': "test_operations.py::test_what_an_installation_asks_for_is_here",
    'pip install ".[training]"': "test_operations.py::test_what_an_installation_asks_for_is_here",
    "pip install --no-deps open_clip_torch": "test_operations.py::test_what_an_installation_asks_for_is_here",
    "python -m generation.training.diffusion": "test_operations.py::test_single_stages_of_a_training_can_be_asked_for",
    "cp -l": "not run: a program of the system; test_single_files_refused.py shows which links are taken",
    "docker compose stop": DOCKER,
    "docker compose run": DOCKER,
    "docker compose up": DOCKER,
}


def said() -> set[str]:
    """All commands of the page, without the words that differ from reader to reader."""
    found = {one.removeprefix("=3 ").strip() for one in COMMAND.findall(PAGE.read_text(encoding="utf-8"))}
    return {one for one in found if not one.startswith("manage.py check_")}


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    assert said() == RUN_BY.keys()
    for command, where in RUN_BY.items():
        file, _, name = where.partition("::")
        if not where.startswith("not run: "):
            (found,) = (ROOT / "tests").rglob(file)
            tree = ast.parse(found.read_text(encoding="utf-8"))
            tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in tests, f"{command}: there is no {where}"


def test_a_forgotten_password_is_set_anew(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "another horse battery")
    call_command("changepassword", "alice@example.org")
    alice.refresh_from_db()
    assert alice.check_password("another horse battery") and not alice.check_password(PASSWORD)


def test_another_administrator_is_made(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--noinput", "--email", "new@example.org")
    made = User.objects.get(email="new@example.org")
    assert made.is_superuser and made.is_staff and made.check_password(PASSWORD)


@pytest.mark.usefixtures("db")
def test_the_checks_find_nothing_wrong() -> None:
    call_command("check", fail_level="WARNING")
    call_command("check", databases=["default"], fail_level="WARNING")


@pytest.mark.parametrize("family", ["diffusion", "multimodal"])
def test_single_stages_of_a_training_can_be_asked_for(
    family: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"generation.training.{family}", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"generation.training.{family}", run_name="__main__")
    assert not ended.value.code and "usage" in capsys.readouterr().out


@pytest.mark.processes
def test_what_an_installation_asks_for_is_here(tmp_path: Path) -> None:
    """pip finds nothing to fetch in this environment for what the page has installed; it asks no registry."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-build-isolation"]
    for wanted in (".[cluster,training]", "open_clip_torch"):
        what = [*(["--no-deps"] if wanted == "open_clip_torch" else []), wanted]
        done = subprocess.run([*command, *what], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        fetched = re.findall(r"Would install (.+)", done.stdout)
        assert not any(word for line in fetched for word in line.split() if not word.startswith("tessera")), fetched
