"""Migrations of people: two addresses that differ only in case are told in a sentence, and mended as the page says."""

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.transaction import TransactionManagementError
from pytest_django import DjangoDbBlocker

from generation.management.commands import run
from tests.generation.cluster import ROOT, database, environment

BOTH = "Bob@example.org and bob@example.org differ only in case"


@pytest.fixture
def before(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Path:
    """A data folder whose database knows Bob twice."""
    with django_db_blocker.unblock(), database(tmp_path):
        call_command("migrate", verbosity=0)
        call_command("migrate", "accounts", "0002", verbosity=0)
        state = MigrationExecutor(connection).loader.project_state(("accounts", "0002_must_change_password"))
        people = state.apps.get_model("accounts", "User").objects  # as it was then: columns came later
        for email in ("Bob@example.org", "bob@example.org", "Carol@example.org"):
            people.create(email=email)
    return tmp_path


def test_two_addresses_that_differ_in_case_are_named(before: Path, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock(), database(before), pytest.raises(CommandError, match=BOTH) as told:
        run.Command().prepare()
    assert "disk" not in str(told.value)
    assert addresses(before) == ["Bob@example.org", "Carol@example.org", "bob@example.org"]


@pytest.mark.processes
def test_the_command_of_the_page_mends_it(before: Path, django_db_blocker: DjangoDbBlocker) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(r'manage\.py shell -c "(.+)"', page)
    assert found is not None
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", found[1]]
    done = subprocess.run(command, cwd=ROOT, env=environment(before), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    with django_db_blocker.unblock(), database(before):
        run.Command().prepare()
    assert addresses(before)[:3] == ["bob-2@example.org", "bob@example.org", "carol@example.org"]


def test_a_fault_of_ours_in_a_migration_is_not_told_as_a_broken_disk() -> None:
    assert "disk may be full" in run.database_trouble(OperationalError("database is locked"))
    column = run.database_trouble(OperationalError("no such column: x"))
    assert "no such column: x" in column
    assert "disk" not in column
    assert run.database_trouble(hidden(CommandError("Change one."))) == "Change one."
    assert "ZeroDivisionError: 1 / 0" in run.database_trouble(hidden(ZeroDivisionError("1 / 0")))
    assert "disk may be full" in run.database_trouble(hidden(OperationalError("database or disk is full")))


def hidden(error: Exception) -> DatabaseError:
    """As Django tells what broke a transaction: by another error, about the transaction."""
    try:
        try:
            raise error
        except type(error):
            raise TransactionManagementError("You can't execute queries.")  # noqa: B904 as Django does
    except TransactionManagementError as told:
        return told


def addresses(data: Path) -> list[str]:
    """Of everybody but the administrator."""
    with contextlib.closing(sqlite3.connect(data / "tessera.sqlite3")) as opened:
        rows = opened.execute("SELECT email FROM accounts_user WHERE NOT is_staff ORDER BY email").fetchall()
    return [email for (email,) in rows]
