"""The kill matrix, one round of each on one running portal; `make chaos` plays more."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.rounds import play
from tests.chaos.stage import Stage
from tests.generation.cluster import database

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """One portal for all rounds."""
    made = Stage(tmp_path_factory.mktemp("chaos") / "data")
    with django_db_blocker.unblock(), database(made.data):
        try:
            made.open()
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_what_was_accepted_ends_well(stage: Stage, fault: Fault, settings: object) -> None:
    settings.MEDIA_ROOT = stage.data / "media"  # type: ignore[attr-defined]
    outcome = play(stage, fault)
    assert outcome.problems == (), stage.portal.output[-6000:]
