"""The pages of projects: the list, a new one, its people; each asked by the whole cast."""

import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generation.models import Membership, Project
from tests.generation import pictures

Login = Callable[[User], Client]
LIST = "/projects/"


def test_everybody_finds_a_personal_project_first(bob: User, team: Project, login: Login) -> None:
    page = login(bob).get(LIST).content.decode()
    assert page.index("Personal") < page.index("Team")
    assert Project.objects.filter(owner=bob, kind=Project.Kind.PERSONAL).count() == 1
    assert Client().get(LIST).status_code == 302


def test_the_list_holds_only_mine_and_shared(
    alice: User, bob: User, charlie: User, olga: User, project: Project, team: Project, login: Login
) -> None:
    secret = pictures.image(project=project)
    for person, sees_team in ((alice, True), (bob, True), (charlie, False), (olga, False)):
        page = login(person).get(LIST).content.decode()
        assert (str(team.pk) in page) is sees_team
        assert (str(secret.pk) in page) is (person == alice)


def test_counts_and_covers(alice: User, team: Project, login: Login) -> None:
    made = [pictures.image(project=team, seed=seed, width=8, height=8) for seed in range(6)]
    gone = pictures.image(project=team, seed=9, trashed_at=timezone.now())
    Membership.objects.create(project=team, user=User.objects.create_user("dora@example.org"))
    page = login(alice).get(LIST).content.decode()
    assert "6 pictures" in page
    assert "3 people" in page
    assert [str(image.pk) in page for image in made] == [False, False, True, True, True, True]
    assert str(gone.pk) not in page


@pytest.mark.parametrize("count", [1, 6])
def test_the_number_of_queries_does_not_grow(alice: User, bob: User, login: Login, count: int) -> None:
    for number in range(count):
        made = Project.objects.create(name=f"Team {number}", owner=bob)
        Membership.objects.create(project=made, user=alice)
        for seed in range(count):
            pictures.image(project=made, seed=seed, width=8, height=8)
    client = login(alice)
    client.get(LIST)
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST)
    # session, person, personal project, projects with counts, covers
    assert len(queries) == 5, [query["sql"] for query in queries]


def test_a_new_team_project(alice: User, login: Login) -> None:
    client, url = login(alice), reverse("project_create")
    assert client.get(url).status_code == 200
    answer = client.post(url, {"name": "Posters"})
    made = Project.objects.get(name="Posters")
    assert (answer.url, made.owner, made.kind) == (reverse("project_members", args=[made.pk]), alice, "team")
    assert Client().post(url, {"name": "Nobody's"}).status_code == 302
    assert Project.objects.count() == 1


@pytest.mark.parametrize("name", ["", "  ", "x" * 121])
def test_a_bad_name_comes_back_with_a_sentence(alice: User, login: Login, name: str) -> None:
    answer = login(alice).post(reverse("project_create"), {"name": name})
    assert answer.status_code == 400
    assert b'role="alert"' in answer.content
    assert name.strip().encode() in answer.content
    assert not Project.objects.exists()


def test_who_sees_the_people(
    alice: User, bob: User, edith: User, charlie: User, olga: User, team: Project, login: Login
) -> None:
    url = reverse("project_members", args=[team.pk])
    codes = [login(person).get(url).status_code for person in (alice, bob, edith, charlie, olga)]
    assert codes == [200, 200, 200, 404, 404]
    seen, managed = (login(person).get(url).content.decode() for person in (bob, alice))
    assert "edith@example.org" in seen
    assert 'name="do"' not in seen
    assert 'name="do"' in managed


@pytest.mark.parametrize("do", ["add", "change", "remove", "rename", "nonsense"])
def test_only_managers_change_people(
    do: str, bob: User, edith: User, charlie: User, olga: User, team: Project, login: Login
) -> None:
    form = {"do": do, "member": str(bob.pk), "email": charlie.email, "role": "manager", "name": "Mine"}
    url = reverse("project_members", args=[team.pk])
    if do != "nonsense":
        assert [login(person).post(url, form).status_code for person in (bob, edith)] == [403, 403]
    assert [login(person).post(url, form).status_code for person in (charlie, olga)] == [404, 404]
    assert Client().post(url, form).status_code == 302
    team.refresh_from_db()
    assert team.name == "Team"
    assert dict(team.memberships.values_list("user__name", "role")) == {"Bob": "viewer", "Edith": "editor"}


def test_removing_somebody_asks_first(alice: User, bob: User, team: Project, login: Login) -> None:
    html = login(alice).get(reverse("project_members", args=[team.pk])).content.decode()
    fold = html.split('<details class="member-remove">')[1].split("</details>")[0]
    assert 'value="remove"' in fold
    assert "Remove Bob?" in fold
    assert html.count('value="remove"') == fold.count('value="remove"') == 1


def test_a_manager_changes_people(alice: User, bob: User, charlie: User, team: Project, login: Login) -> None:
    client, url = login(alice), reverse("project_members", args=[team.pk])
    deeds = [
        ({"do": "add", "email": charlie.email, "role": "editor"}, "Charlie is now editor."),
        ({"do": "change", "member": str(bob.pk), "role": "manager"}, "Bob is now manager."),
        ({"do": "remove", "member": str(charlie.pk)}, "Charlie is no longer in this project."),
        ({"do": "rename", "name": "Ours"}, "The project is now called Ours."),
    ]
    for form, sentence in deeds:
        answer = client.post(url, form, follow=True)
        assert sentence in answer.content.decode()
    team.refresh_from_db()
    assert (team.name, list(team.memberships.values_list("user", "role"))) == ("Ours", [(bob.pk, "manager")])


@pytest.mark.parametrize(
    "form",
    [
        {"do": "add", "email": "unknown@example.org", "role": "viewer"},
        {"do": "add", "email": "bob@example.org", "role": "viewer"},
        {"do": "add"},
        {"do": "change", "member": "nonsense", "role": "viewer"},
        {"do": "change", "member": str(uuid.uuid4()), "role": "viewer"},
        {"do": "remove", "member": ""},
        {"do": "rename", "name": " "},
        {"do": "nonsense"},
        {},
    ],
)
def test_what_makes_no_sense_comes_back_with_a_sentence(
    alice: User, team: Project, login: Login, form: dict[str, str]
) -> None:
    answer = login(alice).post(reverse("project_members", args=[team.pk]), form)
    assert answer.status_code == 400
    assert b'role="alert"' in answer.content
    assert form.get("email", "").encode() in answer.content
    assert [(row.user.name, row.role) for row in team.memberships.all()] == [("Bob", "viewer")]


def test_a_personal_project_tells_how_to_share(alice: User, project: Project, login: Login) -> None:
    url = reverse("project_members", args=[project.pk])
    page = login(alice).get(url).content.decode()
    assert reverse("project_create") in page
    assert 'name="do"' not in page
    assert login(alice).post(url, {"do": "add", "email": "bob@example.org"}).status_code == 403


def test_changes_need_a_token(alice: User, team: Project) -> None:
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert careful.post(reverse("project_members", args=[team.pk]), {"do": "rename", "name": "X"}).status_code == 403
    assert careful.post(reverse("project_create"), {"name": "X"}).status_code == 403
    assert Project.objects.get().name == "Team"
