"""Projects and members: who may change what, in which words it is refused, what the audit trail keeps."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from accounts.models import AuditEvent, User
from core.errors import NotAllowedError, TesseraError
from generation.models import Membership, Project
from generation.services import projects
from tests.generation.queue import lease, make_checkpoint, submit

ROOT = Path(__file__).resolve().parents[2]


def test_everybody_has_one_personal_project(alice: User, bob: User) -> None:
    mine = projects.project_personal(alice)
    assert projects.project_personal(alice) == mine
    assert projects.project_personal(bob) != mine
    assert (mine.kind, mine.name, mine.owner) == (Project.Kind.PERSONAL, "Personal", alice)


def test_a_team_project_belongs_to_its_maker(alice: User) -> None:
    made = projects.project_create(user=alice, name="  Posters \n 2027 ")
    assert (made.name, made.kind, made.owner) == ("Posters 2027", Project.Kind.TEAM, alice)


@pytest.mark.parametrize(
    ("name", "code"), [("", "name_missing"), (" \t", "name_missing"), ("x" * 121, "name_too_long")]
)
def test_a_name_that_is_none_is_refused(alice: User, name: str, code: str) -> None:
    with pytest.raises(TesseraError) as caught:
        projects.project_create(user=alice, name=name)
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)
    assert not Project.objects.exists()


def test_a_manager_lets_people_in_changes_and_removes_them(alice: User, charlie: User, team: Project) -> None:
    added = projects.member_add(actor=alice, project=team, email=" Charlie@Example.ORG ", role="editor")
    assert (added.user, added.role) == (charlie, Membership.Role.EDITOR)
    projects.member_role_change(actor=alice, project=team, member=charlie, role="manager")
    projects.project_rename(actor=charlie, project=team, name="Ours")
    projects.member_remove(actor=alice, project=team, member=charlie)
    assert not team.memberships.filter(user=charlie).exists()
    lines = AuditEvent.objects.order_by("created_at").values_list("verb", "owner", "target_id", "detail")
    assert list(lines) == [
        ("member.add", alice.pk, str(team.pk), "charlie@example.org as editor in Team"),
        ("member.role", alice.pk, str(team.pk), "charlie@example.org from editor to manager in Team"),
        ("member.remove", alice.pk, str(team.pk), "charlie@example.org was manager in Ours"),
    ]


@pytest.mark.parametrize("deed", ["remove", "demote"])
def test_who_may_draw_no_longer_draws_no_longer(
    alice: User, charlie: User, team: Project, project: Project, deed: str
) -> None:
    projects.member_add(actor=alice, project=team, email=charlie.email, role="editor")
    mine, tiny = projects.project_personal(charlie), make_checkpoint()
    queued, running, elsewhere = submit(charlie, team, tiny), submit(charlie, team, tiny), submit(charlie, mine, tiny)
    others = submit(alice, team, tiny)
    lease(running)
    if deed == "remove":
        projects.member_remove(actor=alice, project=team, member=charlie)
    else:
        projects.member_role_change(actor=alice, project=team, member=charlie, role="manager")
        queued.refresh_from_db()
        assert queued.state == "queued"
        projects.member_role_change(actor=alice, project=team, member=charlie, role="viewer")
    for request in (queued, running, elsewhere, others):
        request.refresh_from_db()
    assert (queued.state, elsewhere.state, others.state) == ("canceled", "queued", "queued")
    assert "Team" in queued.error_message
    assert running.cancel_requested_at is not None
    assert "Team" in running.error_message


def test_the_same_role_again_writes_no_line(alice: User, bob: User, team: Project) -> None:
    projects.member_role_change(actor=alice, project=team, member=bob, role="viewer")
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("email", "role", "code"),
    [
        ("nobody@example.org", "viewer", "person_unknown"),
        ("", "viewer", "person_unknown"),
        ("alice@example.org", "viewer", "already_owner"),
        ("bob@example.org", "editor", "already_member"),
        ("charlie@example.org", "king", "role_unknown"),
    ],
)
def test_an_addition_that_makes_no_sense_says_why(
    alice: User, bob: User, charlie: User, team: Project, email: str, role: str, code: str
) -> None:
    with pytest.raises(TesseraError) as caught:
        projects.member_add(actor=alice, project=team, email=email, role=role)
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)
    assert list(team.memberships.values_list("user__email", "role")) == [("bob@example.org", "viewer")]
    assert not AuditEvent.objects.exists()


def test_who_is_deactivated_cannot_be_added(alice: User, charlie: User, team: Project) -> None:
    User.objects.filter(pk=charlie.pk).update(is_active=False)
    with pytest.raises(TesseraError, match="Nobody here"):
        projects.member_add(actor=alice, project=team, email=charlie.email, role="viewer")


def test_only_managers_change_members(
    bob: User, edith: User, charlie: User, olga: User, team: Project, project: Project
) -> None:
    deeds: list[Callable[[User], object]] = [
        lambda actor: projects.member_add(actor=actor, project=team, email=charlie.email, role="viewer"),
        lambda actor: projects.member_role_change(actor=actor, project=team, member=bob, role="manager"),
        lambda actor: projects.member_remove(actor=actor, project=team, member=bob),
        lambda actor: projects.project_rename(actor=actor, project=team, name="Mine"),
    ]
    for actor in (bob, edith, charlie, olga):
        for deed in deeds:
            with pytest.raises(NotAllowedError):
                deed(actor)
    assert team.memberships.get(user=bob).role == Membership.Role.VIEWER
    assert not AuditEvent.objects.exists()


def test_nobody_joins_a_personal_project(alice: User, bob: User, project: Project) -> None:
    with pytest.raises(NotAllowedError, match="team project"):
        projects.member_add(actor=alice, project=project, email=bob.email, role="viewer")


def test_who_is_not_in_cannot_be_changed(alice: User, charlie: User, team: Project) -> None:
    for deed in (
        lambda: projects.member_remove(actor=alice, project=team, member=charlie),
        lambda: projects.member_role_change(actor=alice, project=team, member=charlie, role="editor"),
    ):
        with pytest.raises(TesseraError) as caught:
            deed()
        assert caught.value.code == "not_a_member"


def test_the_owner_manages_whatever_happens(alice: User, charlie: User, team: Project) -> None:
    projects.member_add(actor=alice, project=team, email=charlie.email, role="manager")
    with pytest.raises(TesseraError, match="is not in this project"):
        projects.member_remove(actor=charlie, project=team, member=alice)
    projects.member_remove(actor=charlie, project=team, member=charlie)
    projects.project_rename(actor=alice, project=team, name="Still mine")


RACER = """
import sys, time
from pathlib import Path
from accounts.models import User
from generation.models import Project
from generation.services.projects import project_personal
people = list(User.objects.all())
ready = Path(sys.argv[1])
ready.touch()
deadline = time.monotonic() + 60
while len(list(ready.parent.glob("*.ready"))) < 4 and time.monotonic() < deadline:
    time.sleep(0.001)
for person in people:
    project_personal(person)
"""


@pytest.mark.processes
def test_two_doors_at_once_make_one_personal_project(tmp_path: Path) -> None:
    """Four real processes on one database file: threads would share pytest's in-memory database and its locks."""
    environment = {
        **os.environ,
        "TESSERA_DATA": str(tmp_path / "data"),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
    }
    environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
    (tmp_path / "racer.py").write_text("import django\ndjango.setup()\n" + RACER, encoding="utf-8")
    people = "from accounts.models import User\nfor n in range(25): User.objects.create(email=f'{n}@example.org')"
    for command in (["migrate", "--verbosity", "0"], ["shell", "--verbosity", "0", "-c", people]):
        subprocess.run([sys.executable, ROOT / "manage.py", *command], env=environment, check=True, capture_output=True)
    racers = [
        subprocess.Popen([sys.executable, tmp_path / "racer.py", tmp_path / f"{n}.ready"], env=environment)
        for n in range(4)
    ]
    assert [racer.wait(120) for racer in racers] == [0, 0, 0, 0]
    count = "from generation.models import Project; print(*Project.objects.values_list('owner', flat=True))"
    told = subprocess.run(
        [sys.executable, ROOT / "manage.py", "shell", "--verbosity", "0", "-c", count],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    owners = told.stdout.split()
    assert (len(owners), len(set(owners))) == (25, 25)
