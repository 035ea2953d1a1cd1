"""A disk that is really full in mid-picture: the request fails with this reason, and nothing else is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from generation.models import GenerationRequest
from generation.services.checkpoints import checkpoint_register
from tests.disk import fill, small_disk
from tests.generation.cluster import ROOT, ClusterProcess, database, environment
from tests.generation.test_kills import assert_complete, in_mid_picture, save_tiny, wish

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

LIVES_SECONDS = 4.0


def test_it_fails_with_the_reason_and_the_cluster_lives_on(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker, settings: object
) -> None:
    save_tiny(tmp_path / "tiny")
    with small_disk(tmp_path / "disk", kilobytes=16 * 1024) as disk:
        settings.MEDIA_ROOT = disk / "media"  # type: ignore[attr-defined]
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment(disk), check=True)
        with django_db_blocker.unblock(), database(disk):
            cluster = ClusterProcess(disk)
            try:
                checkpoint = checkpoint_register(path=tmp_path / "tiny", name="tiny")
                cluster.start()
                unlucky, lucky = wish(checkpoint), wish(checkpoint)
                in_mid_picture(cluster, unlucky)
                draw_on_a_full_disk(cluster, disk, unlucky)
                cluster.wait_for(lucky, "completed", attempt=1)
                assert_complete(lucky)
            finally:
                cluster.stop()


def draw_on_a_full_disk(cluster: ClusterProcess, disk: Path, request: GenerationRequest) -> None:
    """Until the cluster has had time to die of it; then there is room again."""
    family, ballast = cluster.left(), fill(disk)
    with pytest.raises(subprocess.TimeoutExpired):
        assert cluster.parent is not None
        cluster.parent.wait(LIVES_SECONDS)
    ballast.unlink()
    failed = cluster.wait_for(request, "failed", attempt=1)
    assert failed.error_code == "disk_full"
    assert "disk is full" in failed.error_message
    assert not list((disk / "media").rglob("*.*"))
    assert cluster.left() == family
