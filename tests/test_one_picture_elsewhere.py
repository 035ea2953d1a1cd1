"""The thinnest installation on servers: PostgreSQL and Redis by settings alone, one picture from submit to gallery."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.machines import Machines

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

SUBMIT = """
import json
from accounts.models import User
from generation.models import Checkpoint
from generation.services.projects import project_personal
from generation.services.requests import request_submit
user = User.objects.get()
params = {"prompt": "a cat on blue", "width": 128, "height": 128, "count": 1, "seed": 7, "steps": 4}
request = request_submit(user=user, project=project_personal(user=user), checkpoint="starter-diffusion", params=params)
print(json.dumps(str(request.pk)))
"""
LOOK = """
import json
from django.db import connection
from generation.models import GenerationRequest
request = GenerationRequest.objects.get()
print(json.dumps([connection.vendor, request.state, request.error_message, request.images.count()]))
"""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """On a fresh PostgreSQL and a fresh Redis."""
    with servers.postgres() as (_, database), servers.redis() as (_, redis):
        made = Machines(tmp_path, {"TESSERA_DATABASE_URL": database, "TESSERA_REDIS_URL": redis})
        try:
            yield made
        finally:
            made.stop()


def test_a_picture_is_drawn_on_postgresql_and_redis(machines: Machines) -> None:
    web, cluster = machines.web("web"), machines.cluster("gpu1")
    assert "admin@example.org" in web.manage("prepare")
    web.start()
    cluster.start()
    machines.wait(web.is_ready, "readiness")
    web.manage("shell", "-v", "0", "-c", SUBMIT)
    seen: list[object] = []

    def completed() -> bool:
        seen[:] = json.loads(web.manage("shell", "-v", "0", "-c", LOOK))
        return seen[1] in {"completed", "failed"}

    machines.wait(completed, "the picture")
    assert seen == ["postgresql", "completed", "", 1], machines.logs()
    assert not (web.data / "tessera.sqlite3").exists()
