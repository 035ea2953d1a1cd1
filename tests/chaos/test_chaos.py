"""The kill matrix, one round of each on one running portal; `make chaos` plays more."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ground import ground, impossible
from tests.chaos.rounds import play
from tests.chaos.stage import Stage
from tests.generation.cluster import database

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def stage(django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """One portal for all rounds. Not in pytest's own folder: it could not clean up what a killed run left mounted."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-chaos-"))

    @contextlib.contextmanager
    def connected() -> Iterator[None]:
        with django_db_blocker.unblock(), database(folder / "data"):
            yield

    with ground(folder, connected) as made, connected():
        made.open()
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.short], ids=lambda fault: fault.name.replace(" ", "-")
)
def test_what_was_accepted_ends_well(stage: Stage, fault: Fault, settings: object) -> None:
    settings.DATA = stage.data  # type: ignore[attr-defined]
    settings.MEDIA_ROOT = Path(stage.data) / "media"  # type: ignore[attr-defined]
    if reason := impossible(stage, fault):
        pytest.skip(reason)
    outcome = play(stage, fault)
    assert outcome.problems == (), stage.portal.output[-6000:]
