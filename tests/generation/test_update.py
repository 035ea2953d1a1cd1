"""An update while requests wait: rows of an older version are migrated, keep their order, and are drawn."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from generation.models import Checkpoint, GenerationRequest, Image
from generation.services.checkpoints import checkpoint_register
from tests.generation.cluster import ClusterProcess, database
from tests.generation.test_kills import assert_complete, save_tiny

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

OLDER = ("generation", "0009_schedulers")  # before lanes, quotas and devices elsewhere
STATES = ("queued", "queued", "running", "queued")


def test_what_waits_during_an_update_is_drawn_after_it(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker, settings: Any
) -> None:
    data = tmp_path / "portal"
    save_tiny(tmp_path / "tiny")
    settings.MEDIA_ROOT = data / "media"
    for folder in (data, tmp_path / "other"):
        folder.mkdir(mode=0o700)
    with django_db_blocker.unblock():
        with database(tmp_path / "other"):
            call_command("migrate", verbosity=0)
            checkpoint = checkpoint_register(path=tmp_path / "tiny", name="tiny")
        with database(data):
            waited = wait_in_an_older_version(checkpoint)
            call_command("migrate", verbosity=0)
            rows = GenerationRequest.objects.order_by("sort_at", "id")
            assert list(rows.values_list("pk", flat=True)) == waited
            cluster = ClusterProcess(data)
            try:
                cluster.start()
                for pk in waited:
                    assert_complete(cluster.wait_for(GenerationRequest.objects.get(pk=pk), "completed"))
            finally:
                cluster.stop()
            assert Image.objects.count() == len(STATES)
            assert [row.attempt for row in rows] == [1, 1, 2, 1]


def wait_in_an_older_version(checkpoint: Checkpoint) -> list[uuid.UUID]:
    """The database of that version with requests in it, one of them with a worker that died; in their order."""
    call_command("migrate", *OLDER, verbosity=0)
    apps = MigrationExecutor(connection).loader.project_state(OLDER).apps
    user = apps.get_model("accounts", "User").objects.create(email="alice@example.org")
    project = apps.get_model("generation", "Project").objects.create(owner=user, kind="personal", name="Personal")
    old = apps.get_model("generation", "Checkpoint")
    known = {field.attname: getattr(checkpoint, field.attname) for field in old._meta.concrete_fields}
    own = old.objects.create(**known)
    wish = {"owner": user, "project": project, "checkpoint": own, "prompt": "a cat"}
    made = []
    for seed, state in enumerate(STATES):
        held = {"attempt": 1, "lease_token": uuid.uuid4(), "lease_until": timezone.now()} if state == "running" else {}
        params = {"width": 32, "height": 32, "count": 1, "seed": seed}
        rows = apps.get_model("generation", "GenerationRequest").objects
        made.append(rows.create(**wish, params=params, state=state, **held).pk)
    return made
