"""Backup and restore: a portal comes back to the byte, and no archive that is not whole and ours is taken."""

import fcntl
import json
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from django.utils import timezone
from PIL import Image as Picture
from pytest_django import DjangoDbBlocker

from accounts.models import User
from core.errors import TesseraError
from core.folder_lock import FolderInUseError, alone, shared
from generation import storage
from generation.archive import reading, swapping, writing
from generation.archive.manifest import MANIFEST, ArchiveError
from generation.archive.reading import archive_restore
from generation.archive.writing import archive_write
from generation.management.commands.cluster import only_cluster
from generation.models import Checkpoint, Device, GenerationRequest, Image, Membership, Project, Upload
from generation.services.trash import trash_purge
from tests.conftest import PASSWORD
from tests.generation.cluster import ROOT, database, environment
from tests.machines import Machine
from tests.portal import free_port

DATABASE = "tessera.sqlite3"


@pytest.fixture
def portal(empty_database: Path, tmp_path: Path, settings: Any, django_db_blocker: DjangoDbBlocker) -> Iterator[Path]:
    """The data folder of a portal that has been used, and its database in this process."""
    data = tmp_path / "portal"
    settings.DATA, settings.MEDIA_ROOT = data, data / "media"
    data.mkdir(mode=0o700)
    (data / "secret-key").write_text("a key of this portal alone")
    shutil.copy(empty_database, data / DATABASE)
    with django_db_blocker.unblock(), database(data):
        use(settings)
        yield data


def use(settings: Any) -> None:
    """Two people, a team, a history with a picture, one in the queue, one handed in."""
    alice = User.objects.create_user("alice@example.org", PASSWORD)
    bob = User.objects.create_user("bob@example.org", PASSWORD)
    team = Project.objects.create(name="Team", kind=Project.Kind.TEAM, owner=alice)
    Membership.objects.create(project=team, user=bob, role=Membership.Role.VIEWER)
    checkpoint = Checkpoint.objects.create(name="tiny", title="Tiny", path="/nowhere", family="multimodal")
    wish = {"owner": alice, "project": team, "checkpoint": checkpoint, "prompt": "a cat", "params": {"count": 1}}
    done = GenerationRequest.objects.create(**wish, state="completed")
    GenerationRequest.objects.create(**wish)
    picture(done, "red")
    file = storage.path("uploads/ab/abc.png")
    file.parent.mkdir(parents=True)
    file.write_bytes(png("blue"))
    Upload.objects.create(owner=bob, file="uploads/ab/abc.png", sha256="", width=8, height=8, size_bytes=9)


def picture(request: GenerationRequest, colour: str, index: int = 0) -> Image:
    """Files first, then the row, as the worker does it."""
    made = storage.write_picture(png(colour), {"prompt": "a cat"})
    return Image.objects.create(
        id=made.id, request=request, index=index, project=request.project, owner=request.owner, prompt="a cat", seed=1,
        width=8, height=8, checkpoint_name="tiny", file=made.file, sha256=made.sha256, size_bytes=made.size_bytes,
    )  # fmt: skip


def png(colour: str) -> bytes:
    """A small picture."""
    out = BytesIO()
    Picture.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def manage(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A management command on a data folder, with the key that lies there."""
    data.mkdir(mode=0o700, exist_ok=True)
    own = {name: value for name, value in environment(data).items() if name != "TESSERA_SECRET_KEY"}
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)


def rows(data: Path) -> list[str]:
    """Everything that the database holds."""
    with closing(sqlite3.connect(data / DATABASE)) as one:
        return sorted(one.iterdump())


def files(data: Path) -> dict[str, bytes]:
    """Everything below media."""
    media = data / "media"
    return {file.relative_to(media).as_posix(): file.read_bytes() for file in media.rglob("*") if file.is_file()}


@pytest.mark.processes
def test_a_portal_comes_back_to_the_byte(portal: Path, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    archive, other = tmp_path / "backup.zip", tmp_path / "other"
    done = manage(portal, "backup", str(archive))
    assert done.returncode == 0 and "3 files of pictures" in done.stdout, done.stderr
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert "already" in manage(portal, "backup", str(archive)).stderr

    assert "whole" in manage(other, "restore", "--check", str(archive)).stdout
    assert not (other / DATABASE).exists()
    done = manage(other, "restore", str(archive))
    assert done.returncode == 0 and "Restored" in done.stdout, done.stderr
    assert rows(other) == rows(portal)
    assert files(other) == files(portal) and len(files(other)) == 3
    assert (other / "secret-key").read_text() == "a key of this portal alone"
    assert [path for path in (other, *other.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert not list(other.glob("before-restore-*")) and not list(other.glob(".restoring-*"))
    with database(other):
        assert User.objects.get(email="bob@example.org").check_password(PASSWORD)
        assert Project.objects.get(name="Team").memberships.get().user.email == "bob@example.org"
        assert [one.state for one in GenerationRequest.objects.order_by("state")] == ["completed", "queued"]

    kept = rows(other)
    (other / "media" / "stray").write_text("of before")
    assert "--force" in manage(other, "restore", str(archive)).stderr
    done = manage(other, "restore", "--force", str(archive))
    (aside,) = other.glob("before-restore-*")
    assert str(aside) in done.stdout and rows(other) == kept == rows(aside)
    assert (aside / "media" / "stray").exists() and "stray" not in files(other)


@pytest.mark.processes
def test_nothing_is_restored_under_a_running_portal(
    portal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "backup.zip"
    monkeypatch.setattr(reading, "WIND_UP_SECONDS", 0.0)
    archive_write(archive)
    with (portal / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "already runs" in manage(portal, "restore", "--force", str(archive)).stderr
        assert manage(portal, "backup", str(tmp_path / "second.zip")).returncode == 0
    refused = pytest.raises(FolderInUseError, match="still runs on")
    with only_cluster(portal, "gpu1"), shared(portal), refused:  # as the units start it
        archive_restore(archive, force=True)
    Device.objects.create(name="old", version="0.0.1", host="far", heartbeat_at=timezone.now())
    web = Machine("web", ["web"], portal, {}, free_port())
    web.start()
    try:
        while not answers(web.port):
            assert web.process is not None and web.process.poll() is None, web.log.read_text()
        with pytest.raises(FolderInUseError), alone(portal):
            pass
        web.stop()
        assert "The device old on far runs Tessera 0.0.1" in web.log.read_text()
    finally:
        web.power_off()
    with alone(portal):
        with pytest.raises(FolderInUseError, match="Start again"), shared(portal):
            pass
        web.start()
        assert web.process is not None and web.process.wait(60) != 0
        assert "is being replaced" in web.log.read_text()
        web.process = None
    assert not list(portal.glob("before-restore-*"))


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nothing_is_restored_while_a_device_is_served_elsewhere(
    portal: Path, tmp_path: Path, settings: Any, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, before = tmp_path / "backup.zip", files(portal)
    archive_write(archive)
    far = Device.objects.create(name="gpu1", host="far-away", heartbeat_at=timezone.now())

    def beat(seconds: float) -> None:
        Device.objects.filter(pk=far.pk).update(heartbeat_at=timezone.now())

    monkeypatch.setattr(swapping.time, "sleep", beat)
    with pytest.raises(ArchiveError, match="gpu1 on far-away"):
        archive_restore(archive, force=True)
    assert files(portal) == before and User.objects.count() == 2 and not list(portal.glob("before-restore-*"))

    def silence(seconds: float) -> None:
        Device.objects.filter(pk=far.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))

    monkeypatch.setattr(swapping.time, "sleep", silence)
    Device.objects.filter(pk=far.pk).update(heartbeat_at=timezone.now())
    archive_restore(archive, force=True)
    assert not Device.objects.exists() and files(portal) == before


def test_a_media_folder_that_is_mounted_comes_back(portal: Path, tmp_path: Path, settings: Any) -> None:
    archive, before, media = tmp_path / "backup.zip", files(portal), portal / "media"
    archive_write(archive)
    shutil.rmtree(media)
    media.mkdir()
    with mounted(media):
        (media / "images").mkdir()
        (media / "images" / "stray").write_text("of before")
        _, (aside, former) = archive_restore(archive, force=True)
        kept = {name: content for name, content in files(portal).items() if not name.startswith("before-restore-")}
        assert kept == before and media.is_mount()
        assert former.parent == media and (former / "images" / "stray").read_text() == "of before"
        assert (aside / DATABASE).exists() and not list(media.glob(".arrived-*"))


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small disk of memory at this place, as far as this user may mount one."""
    program = shutil.which("mount")
    command = [program or "", "-t", "tmpfs", "-o", "size=96m", "tessera-test", str(folder)]
    if program is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("not run: nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_pictures_that_come_and_go_meanwhile(
    portal: Path, tmp_path: Path, settings: Any, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, request = Event(), GenerationRequest.objects.get(state="completed")
    doomed = picture(request, "green", index=9000)
    lost = picture(request, "white", index=9001)
    storage.delete(lost.file)

    def draw() -> None:
        with django_db_blocker.unblock(), database(portal):
            for index in range(1, 8000):
                picture(request, "black", index)
                if over.is_set():
                    return

    def then_purge(folder: Path) -> Any:
        found = snapshot(folder)
        Image.objects.filter(pk=doomed.pk).update(trashed_at="2020-01-01T00:00Z")
        trash_purge()
        return found

    snapshot = writing.snapshot_write
    monkeypatch.setattr(writing, "snapshot_write", then_purge)
    drawing = Thread(target=draw)
    drawing.start()
    try:
        while Image.objects.count() < 6:
            pass
        manifest = archive_write(tmp_path / "backup.zip")
    finally:
        over.set()
        drawing.join()
    assert (manifest.gone, manifest.lost) == ([doomed.file], [lost.file])

    other = tmp_path / "other"
    other.mkdir()
    settings.DATA, settings.MEDIA_ROOT = other, other / "media"
    with database(other):
        archive_restore(tmp_path / "backup.zip", force=False)
        named = set(Image.objects.values_list("file", flat=True))
    assert len(named) >= 5 and doomed.file not in named
    assert named - {lost.file} == {file for file in files(other) if file.endswith(storage.PICTURE)}


def test_an_archive_without_keys(portal: Path, tmp_path: Path) -> None:
    archive_write(tmp_path / "backup.zip", keys=False)
    assert "keys/secret-key" not in zipfile.ZipFile(tmp_path / "backup.zip").namelist()


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """The same archive with other content."""
    with zipfile.ZipFile(archive) as old:
        content = {name: old.read(name) for name in old.namelist()}
    change(content)
    with zipfile.ZipFile(archive, "w") as new:
        for name, data in content.items():
            new.writestr(name, data)


def changed(**values: Any) -> Callable[[dict[str, bytes]], None]:
    """With other values in the manifest."""

    def change(content: dict[str, bytes]) -> None:
        content[MANIFEST] = json.dumps({**json.loads(content[MANIFEST]), **values}).encode()

    return change


def smuggled(name: str, *, listed: bool) -> Callable[[dict[str, bytes]], None]:
    """With one file more."""

    def change(content: dict[str, bytes]) -> None:
        content[name] = b"evil"
        manifest = json.loads(content[MANIFEST])
        if listed:
            sha = "4f9eb0f2de6e4d4a4ad2b3d3ea5e5d3e4ee2f4d4f5d9f1bd0ac6de1d1a0f4c4d"
            manifest["members"][name] = {"size": 4, "sha256": sha}
        content[MANIFEST] = json.dumps(manifest).encode()

    return change


def without_pictures(content: dict[str, bytes]) -> None:
    """They are neither there nor listed, but the database names them."""
    manifest = json.loads(content[MANIFEST])
    for name in [name for name in content if name.startswith("media/")]:
        del content[name], manifest["members"][name]
    content[MANIFEST] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(format=2), "format 2"),
        (changed(engine="postgresql"), "of postgresql"),
        (changed(migrations={"generation": ["0001_initial", "9999_future"]}), "9999_future"),
        (changed(members=[]), "cannot be read"),
        (smuggled("../../evil", listed=True), "no place"),
        (smuggled("/etc/evil", listed=True), "no place"),
        (smuggled("media/../../evil", listed=True), "no place"),
        (smuggled("media/a\\..\\evil", listed=True), "no place"),
        (smuggled("media/images/evil.png", listed=False), "does not hold the files"),
        (smuggled("media/images/evil.png", listed=True), "not what it was"),
        (lambda content: content.pop("keys/secret-key"), "does not hold the files"),
        (lambda content: content.pop(MANIFEST), "no list"),
        (lambda content: content.update({"database/database.sqlite3": b"SQLite format 3"}), "not what it was"),
        (without_pictures, "are named by the archive's database"),
    ],
)
def test_what_is_not_whole_and_ours_is_refused_in_words(
    portal: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    archive = tmp_path / "backup.zip"
    archive_write(archive)
    rewritten(archive, change)
    before = files(portal)
    with pytest.raises(TesseraError, match=words):
        archive_restore(archive, force=True)
    assert files(portal) == before and User.objects.count() == 2
    assert not list(portal.glob(".restoring-*")) and not list(portal.glob("before-*"))
    assert not list(tmp_path.rglob("evil"))


def test_a_damaged_file_is_refused(portal: Path, tmp_path: Path) -> None:
    archive = tmp_path / "backup.zip"
    archive_write(archive)
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:2000] + b"\0" * 40 + whole[2040:], b"", b"no archive"):
        archive.write_bytes(damaged)
        with pytest.raises(TesseraError):
            archive_restore(archive, force=True)
    shutil.rmtree(portal / "media")  # what is lost since comes back
    archive.write_bytes(whole)
    archive_restore(archive, force=True)
    assert len(files(portal)) == 3
