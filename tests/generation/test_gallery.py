"""The pages of pictures: grid, search, one picture, trash and undo; each asked by the whole cast."""

import datetime
import re
import uuid
from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generation.models import GenerationRequest, Image, Project
from generation.views import gallery
from tests.generation import pictures

Login = Callable[[User], Client]
HTMX = {"hx-request": "true"}
CARD = re.compile(r'id="image-([0-9a-f-]{36})"')


def cards(page: str) -> list[uuid.UUID]:
    """Which pictures a grid shows, in order."""
    return [uuid.UUID(key) for key in CARD.findall(page)]


def shown(client: Client, project: Project, **query: str) -> list[uuid.UUID]:
    return cards(client.get(reverse("project_gallery", args=[project.pk]), query).content.decode())


def series(project: Project, count: int, **fields: object) -> list[Image]:
    """The oldest first, a minute apart; rows only (the grid reads no file)."""
    start = timezone.now() - datetime.timedelta(days=1)
    one = pictures.image(project=project, width=8, height=8, created_at=start, **fields)
    made = [one]
    for minute in range(1, count):
        copy = Image.objects.get(pk=one.pk)
        copy.pk, copy.seed = uuid.uuid4(), minute
        copy._state.adding = True
        copy.save(force_insert=True)
        made.append(copy)
        Image.objects.filter(pk=copy.pk).update(created_at=start + datetime.timedelta(minutes=minute))
    return made


def test_who_gets_which_page(
    alice: User, bob: User, edith: User, charlie: User, olga: User, team: Project, login: Login
) -> None:
    image = pictures.image(project=team)
    doors = {"project_gallery": team.pk, "project_trash": team.pk, "image_detail": image.pk}
    answers = {
        person.name: [login(person).get(reverse(door, args=[key])).status_code for door, key in doors.items()]
        for person in (alice, edith, bob, charlie, olga)
    }
    inside, outside = [200, 200, 200], [404, 404, 404]
    assert answers == {"Alice": inside, "Edith": inside, "Bob": [200, 403, 200], "Charlie": outside, "Olga": outside}
    for door, key in doors.items():
        nobody = Client().get(reverse(door, args=[key]))
        assert (nobody.status_code, nobody.url.startswith("/accounts/login/")) == (302, True)


def test_who_may_delete_and_restore(
    alice: User, bob: User, edith: User, charlie: User, olga: User, team: Project, login: Login
) -> None:
    image = pictures.image(project=team)
    trash, restore = (reverse(door, args=[image.pk]) for door in ("image_trash", "image_restore"))
    refused = [(login(person).post(trash).status_code, person.name) for person in (bob, charlie, olga)]
    assert refused == [(403, "Bob"), (404, "Charlie"), (404, "Olga")]
    assert "Ask a manager" in login(bob).post(trash).content.decode()
    assert Client().post(trash).status_code == 302
    image.refresh_from_db()
    assert image.trashed_at is None
    assert login(edith).post(trash).status_code == 302
    # In the trash it is not there for those who may not restore it.
    assert [login(person).post(restore).status_code for person in (bob, charlie, olga)] == [404, 404, 404]
    assert login(bob).get(reverse("image_detail", args=[image.pk])).status_code == 404
    assert login(alice).post(restore).status_code == 302
    image.refresh_from_db()
    assert image.trashed_at is None


def test_changes_are_by_post_and_with_a_token(alice: User, project: Project, login: Login) -> None:
    image = pictures.image(project=project)
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(alice, backend="allauth.account.auth_backends.AuthenticationBackend")
    for door in ("image_trash", "image_restore"):
        url = reverse(door, args=[image.pk])
        assert login(alice).get(url).status_code == 405
        assert careful.post(url).status_code == 403
    image.refresh_from_db()
    assert image.trashed_at is None


def test_newest_first_without_the_trash_and_without_others(
    alice: User, project: Project, team: Project, login: Login
) -> None:
    old, new, gone = series(project, 3)
    Image.objects.filter(pk=gone.pk).update(trashed_at=timezone.now())
    pictures.image(project=team)
    assert shown(login(alice), project) == [new.pk, old.pk]


def test_pages_hold_every_picture_once_even_when_times_are_equal(
    monkeypatch: pytest.MonkeyPatch, alice: User, project: Project, login: Login
) -> None:
    monkeypatch.setattr(gallery, "PAGE_SIZE", 3)
    made = series(project, 8)
    Image.objects.filter(pk__in=[image.pk for image in made[2:6]]).update(created_at=made[2].created_at)
    client, url, seen = login(alice), reverse("project_gallery", args=[project.pk]), list[uuid.UUID]()
    following: str | None = url
    for _ in range(5):
        assert following
        page = client.get(following).content.decode()
        seen += cards(page)
        if len(seen) == 3:
            pictures.image(project=project)  # a picture that comes in between shifts nothing
        more = re.search(r'class="button" href="([^"]+)">Older pictures', page)
        following = more[1].replace("&amp;", "&") if more else None
        if not following:
            break
    assert len(seen) == len(set(seen)) == 8
    assert set(seen) == {image.pk for image in made}


@pytest.mark.parametrize(
    "cursor", ["nonsense", "1-2", "-", "99999999999999999999999999-" + "0" * 32, "1-" + "z" * 32, "\0"]
)
def test_a_broken_cursor_is_the_start(alice: User, project: Project, login: Login, cursor: str) -> None:
    image = pictures.image(project=project)
    assert shown(login(alice), project, before=cursor) == [image.pk]


def test_search_by_words_and_checkpoint(alice: User, project: Project, login: Login) -> None:
    cat = pictures.image(project=project, prompt="A cat left of a pizza", seed=1)
    dog = pictures.image(project=project, prompt="a dog right of a pizza", seed=2, checkpoint_name="starter-multimodal")
    client = login(alice)
    assert shown(client, project, q="PIZZA cat") == [cat.pk]
    assert shown(client, project, q="pizza") == [dog.pk, cat.pk]
    assert shown(client, project, q="pizza", checkpoint="starter-multimodal") == [dog.pk]
    assert shown(client, project, q="%") == []
    assert shown(client, project, q="cat\0") == [cat.pk]
    page = client.get(reverse("project_gallery", args=[project.pk]), {"q": '"><script>'}).content.decode()
    assert "No picture matches" in page
    assert "<script>" not in page.split("<main", 1)[1]


def test_the_links_keep_the_search(
    monkeypatch: pytest.MonkeyPatch, alice: User, project: Project, login: Login
) -> None:
    monkeypatch.setattr(gallery, "PAGE_SIZE", 1)
    cat, _ = pictures.image(project=project, prompt="a cat"), pictures.image(project=project, prompt="a dog", seed=2)
    last = pictures.image(project=project, prompt="a cat again", seed=3)
    page = login(alice).get(reverse("project_gallery", args=[project.pk]), {"q": "cat"}).content.decode()
    assert re.search(r"before=[0-9a-f-]+&amp;q=cat", page)
    assert f"/images/{last.pk}/?q=cat" in page
    detail = login(alice).get(reverse("image_detail", args=[last.pk]), {"q": "cat"}).content.decode()
    assert f"/images/{cat.pk}/?q=cat" in detail  # the dog between them is passed over


@pytest.mark.parametrize("count", [1, 12])
def test_the_number_of_queries_does_not_grow(alice: User, team: Project, login: Login, count: int) -> None:
    series(team, count)
    client = login(alice)
    for door, most in (("project_gallery", 5), ("project_trash", 4)):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse(door, args=[team.pk])).status_code == 200
        # session, person, project, pictures, checkpoints; an owner needs no role
        assert len(queries) == most, [query["sql"] for query in queries]


def test_the_list_of_pictures_seeks_in_its_index(project: Project) -> None:
    plan = Image.objects.filter(project=project).kept().order_by("-created_at", "-pk")[:49].explain()
    assert "USING INDEX" in plan, plan
    assert "project_id" in plan, plan


def test_small_pictures_are_shown_as_pixels(alice: User, project: Project, login: Login) -> None:
    small, large = pictures.image(project=project, width=383, height=64), pictures.image(project=project, width=384)
    client = login(alice)
    for image, pixelated in ((small, True), (large, False)):
        page = client.get(reverse("image_detail", args=[image.pk])).content.decode()
        assert ("pixelated" in page) is pixelated


def test_one_picture_tells_everything(alice: User, bob: User, team: Project, login: Login) -> None:
    request = GenerationRequest.objects.create(
        owner=alice,
        project=team,
        checkpoint=pictures.checkpoint(),
        prompt="a cat",
        params={"count": 3},
        figures={"total_seconds": 4.21, "device": "cpu"},
    )
    recipe = {"steps": 8, "guidance": 3.0, "negative_prompt": "dogs", "strength": None}
    older, image, newer = (
        pictures.image(project=team, request=request, index=index, seed=41 + index, recipe=recipe) for index in range(3)
    )
    page = login(bob).get(reverse("image_detail", args=[image.pk])).content.decode()
    for word in (
        "a cat left of a pizza on blue",
        "Starter Diffusion",
        "42",
        "64 × 64",
        "dogs",
        "4.2 s for all 3",
        "cpu",
        "Alice",
    ):
        assert word in page, word
    assert "Strength" not in page
    for link in (f"/?remix={image.pk}", f"/?source={image.pk}", reverse("image_download", args=[image.pk])):
        assert f'href="{link}"' in page
    assert re.search(rf'rel="prev"\s+href="/images/{newer.pk}/"', page)
    assert re.search(rf'rel="next"\s+href="/images/{older.pk}/"', page)
    assert reverse("image_trash", args=[image.pk]) not in page  # bob is a viewer
    assert (
        reverse("image_trash", args=[image.pk])
        in login(alice).get(reverse("image_detail", args=[image.pk])).content.decode()
    )


def test_delete_in_the_grid_and_undo(alice: User, project: Project, login: Login) -> None:
    image, client = pictures.image(project=project), login(alice)
    gone = client.post(reverse("image_trash", args=[image.pk]), headers=HTMX).content.decode()
    assert shown(client, project) == []
    assert "hidden" in gone
    assert "Moved to the trash" in gone
    undo = re.search(r'hx-post="([^"]+/restore/)"', gone)
    assert undo
    back = client.post(undo[1], headers=HTMX).content.decode()
    assert cards(back) == [image.pk]
    assert 'hx-swap-oob="delete"' in back
    assert shown(client, project) == [image.pk]


def test_delete_on_the_page_and_undo_without_javascript(alice: User, project: Project, login: Login) -> None:
    image, client = pictures.image(project=project), login(alice)
    page = client.post(reverse("image_trash", args=[image.pk]), follow=True).content.decode()
    assert cards(page) == []
    undo = re.search(r'action="([^"]+/restore/)"', page)
    assert undo
    assert client.post(undo[1], follow=True).redirect_chain == [(reverse("image_detail", args=[image.pk]), 302)]
    assert shown(client, project) == [image.pk]


@pytest.mark.parametrize("undo", ["nonsense", "4598faef-8bff-45f9-a2c6-6d8170c2cbee"])
def test_an_undo_of_nothing_shows_nothing(alice: User, project: Project, login: Login, undo: str) -> None:
    page = login(alice).get(reverse("project_gallery", args=[project.pk]), {"undo": undo}).content.decode()
    assert "Moved to the trash" not in page


def test_undo_is_not_for_a_picture_of_another_project(
    alice: User, project: Project, team: Project, login: Login
) -> None:
    other = pictures.image(project=team, trashed_at=timezone.now())
    page = login(alice).get(reverse("project_gallery", args=[project.pk]), {"undo": str(other.pk)}).content.decode()
    assert "Moved to the trash" not in page


def test_the_trash_says_how_long_and_restores(settings: object, alice: User, project: Project, login: Login) -> None:
    settings.TRASH_DAYS = 30  # type: ignore[attr-defined]
    image = pictures.image(project=project, trashed_at=timezone.now() - datetime.timedelta(days=18.5))
    client, url = login(alice), reverse("project_trash", args=[project.pk])
    page = client.get(url).content.decode()
    assert cards(page) == [image.pk]
    assert "12 days left" in page
    assert "12 days left" in client.get(reverse("image_detail", args=[image.pk])).content.decode()
    back = client.post(reverse("image_restore", args=[image.pk]), {"back": "trash"})
    assert back.url == url
    assert "The trash is empty" in client.get(url).content.decode()


def test_empty_places_say_what_to_do(alice: User, bob: User, team: Project, login: Login) -> None:
    url = reverse("project_gallery", args=[team.pk])
    owner, viewer = (login(person).get(url).content.decode() for person in (alice, bob))
    assert f"/?project={team.pk}" in owner
    assert f"/?project={team.pk}" not in viewer
    assert "appears here" in viewer
