"""PostgreSQL, where several really write at once: nobody gets more than the quota, and no cancel is lost."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.generation.test_archive_postgres import manage
from tests.servers import postgres

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

ASK = "from tests.generation.test_at_once_postgres import *; print(*ask()); print(cancel())"


def ask() -> tuple[int, int, int, int]:
    """In a process on PostgreSQL: how many of ten requests of one person were accepted, and of nine of three in one
    project, where either has seconds for five; then what the ledger holds, and how many rows of quotas there are.
    """
    from django.conf import settings
    from django.db import connections

    from accounts.models import Quota, User
    from core.errors import TesseraError
    from generation.models import Membership, Project, UsageEntry
    from generation.services import requests
    from generation.services.usage import usage_reserve
    from tests.generation.queue import make_checkpoint, submit

    people = [User.objects.create_user(f"p{number}@example.org") for number in range(4)]
    tiny = make_checkpoint(seconds_per_picture=10.0)
    alone = Project.objects.create(name="alone", owner=people[0])
    team = Project.objects.create(name="team", owner=people[1])
    for person in people[2:]:
        Membership.objects.create(project=team, user=person, role=Membership.Role.EDITOR)
    accepted: list[Project] = []

    def one(person: User, project: Project, begin: threading.Barrier) -> None:
        begin.wait()
        try:
            submit(person, project, tiny)
            accepted.append(project)
        except TesseraError as error:
            assert error.code == "quota_spent", error
        finally:
            connections.close_all()

    def together(askers: list[User], project: Project) -> int:
        begin = threading.Barrier(len(askers))
        threads = [threading.Thread(target=one, args=(person, project, begin)) for person in askers]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return accepted.count(project)

    def slowly(**named: Any) -> UsageEntry:
        time.sleep(0.05)  # so that others come in between what is checked and what is reserved, if they can
        return usage_reserve(**named)

    requests.usage_reserve = slowly  # of this process, which ends with this
    settings.SECONDS_A_DAY, settings.PROJECT_SECONDS_A_DAY = 55, 0
    mine = together([people[0]] * 10, alone)
    settings.SECONDS_A_DAY, settings.PROJECT_SECONDS_A_DAY = 0, 55
    ours = together(people[1:] * 3, team)
    return mine, ours, UsageEntry.objects.held_ms(), Quota.objects.count()


def cancel() -> str:
    """In the same process: what becomes of a request that is put back while its owner cancels it."""
    from django.db import connection, connections

    from accounts.models import User
    from generation.models import Project
    from generation.services.requests import request_cancel
    from generation.services.transitions import request_requeue
    from tests.generation.queue import lease, make_checkpoint, submit

    owner = User.objects.create_user("canceler@example.org")
    project = Project.objects.create(name="own", owner=owner)
    request = submit(owner, project, make_checkpoint("another"))
    lease(request)

    def put_back() -> None:
        request_requeue(request=request)
        connections.close_all()

    other = threading.Thread(target=put_back)

    def between(execute: Any, sql: str, *told: Any) -> Any:
        """After the first update of the cancel, give the other a good chance to come in before the second."""
        done = execute(sql, *told)
        if sql.startswith('UPDATE "generation_generationrequest"') and other.ident is None:
            other.start()
            other.join(1)
        return done

    with connection.execute_wrapper(between):
        request_cancel(request=request)
    other.join()
    request.refresh_from_db()
    return request.state


def test_who_asks_many_times_at_once_gets_no_more_and_who_cancels_is_heard(tmp_path: Path) -> None:
    with postgres() as (_, address):
        manage(tmp_path / "one", address, "migrate", "-v0")
        told = manage(tmp_path / "one", address, "shell", "-v", "0", "-c", ASK)
    assert told.splitlines()[-2:] == ["5 5 100000 4", "canceled"], told
