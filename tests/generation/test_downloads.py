"""What leaves with a picture: the owner's switch, the choice of each download, and who may choose what."""

import asyncio
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse
from PIL import Image as Picture

from accounts.models import User
from generation import storage
from generation.engines.provenance import SOURCE_TYPES, recipe_of
from generation.models import Image, Project
from generation.services.images import recipe_of as recipe_of_request
from generation.services.requests import request_submit
from tests.generation import pictures, queue

Login = Callable[[User], Client]
MARK = SOURCE_TYPES + "trainedAlgorithmicMedia"


def body(response: Any) -> bytes:
    assert isinstance(response, StreamingHttpResponse), response.status_code

    async def read() -> bytes:
        return b"".join([chunk async for chunk in response])

    return asyncio.run(read())


def taken(client: Client, image: Image, query: str = "", *, door: str = "image_download") -> bytes:
    """The bytes of a download, whatever it carries: the same pixels, marked, and as long as was promised."""
    response = client.get(reverse(door, args=[image.pk]) + query)
    data = body(response)
    assert int(response.headers["Content-Length"]) == len(data)
    with Picture.open(io.BytesIO(data)) as picture, Picture.open(storage.picture_path(image)) as kept:
        assert np.array_equal(np.asarray(picture), np.asarray(kept))
        assert MARK in str(picture.info["xmp"])
    return data


def carries(data: bytes) -> bool:
    """Whether the recipe is inside; if not, no trace of it is."""
    recipe = recipe_of(data)
    head = data[: data.index(b"IDAT")]
    assert (recipe is not None) == (b"pizza" in head) == (b"parameters" in head)
    return recipe is not None


@pytest.mark.parametrize(
    ("on", "query"), list(itertools.product([True, False], ["", "?recipe=0", "?recipe=1", "?recipe=x"]))
)
@pytest.mark.usefixtures("signed_or_not")
def test_the_owner_decides_on_every_download(on: bool, query: str, alice: User, team: Project, login: Login) -> None:
    User.objects.filter(pk=alice.pk).update(recipes_travel=on)
    image = pictures.image(project=team)
    expected = {"?recipe=0": False, "?recipe=1": True}.get(query, on)
    assert carries(taken(login(alice), image, query)) == expected


@pytest.mark.parametrize(("on", "query"), list(itertools.product([True, False], ["", "?recipe=0", "?recipe=1"])))
@pytest.mark.usefixtures("signed_or_not")
def test_members_get_the_recipe_only_where_its_owner_lets_it_travel(
    on: bool, query: str, alice: User, bob: User, team: Project, login: Login
) -> None:
    """Bob's own switch is about bob's pictures."""
    User.objects.filter(pk=alice.pk).update(recipes_travel=on)
    User.objects.filter(pk=bob.pk).update(recipes_travel=not on)
    image = pictures.image(project=team)
    assert carries(taken(login(bob), image, query)) == (on and query != "?recipe=0")


@pytest.mark.usefixtures("signed_or_not")
def test_what_an_editor_drew_is_the_editors(alice: User, edith: User, team: Project, login: Login) -> None:
    """Not the project's owner decides, but who drew it."""
    User.objects.filter(pk=edith.pk).update(recipes_travel=False)
    image = pictures.image(project=team, owner=edith)
    assert not carries(taken(login(alice), image, "?recipe=1"))
    assert carries(taken(login(edith), image, "?recipe=1"))


@pytest.mark.parametrize("query", ["", "?recipe=0", "?recipe=1"])
@pytest.mark.usefixtures("signed_or_not")
def test_a_choice_opens_no_door(query: str, charlie: User, olga: User, team: Project, login: Login) -> None:
    image = pictures.image(project=team)
    for stranger in (charlie, olga):
        assert login(stranger).get(reverse("image_download", args=[image.pk]) + query).status_code == 404
    assert Client().get(reverse("image_download", args=[image.pk]) + query).status_code == 302


@pytest.mark.usefixtures("signed_or_not")
def test_what_a_page_shows_carries_no_more_than_a_download(alice: User, bob: User, team: Project, login: Login) -> None:
    image = pictures.image(project=team)
    assert carries(taken(login(bob), image, door="image_picture"))
    assert taken(login(bob), image, door="image_picture") == storage.picture_path(image).read_bytes()
    User.objects.filter(pk=alice.pk).update(recipes_travel=False)
    for person in (alice, bob):
        assert not carries(taken(login(person), image, "?recipe=1", door="image_picture"))


def test_the_file_on_disk_keeps_everything(alice: User, team: Project, login: Login) -> None:
    image = pictures.image(project=team)
    kept = storage.picture_path(image).read_bytes()
    assert not carries(taken(login(alice), image, "?recipe=0"))
    assert storage.picture_path(image).read_bytes() == kept == taken(login(alice), image, "?recipe=1")


def test_a_browser_never_takes_one_for_the_other(alice: User, team: Project, login: Login) -> None:
    client, url = login(alice), reverse("image_download", args=[pictures.image(project=team).pk])
    tags = {query: client.get(url + query).headers["ETag"] for query in ("?recipe=0", "?recipe=1")}
    assert len(set(tags.values())) == 2
    for query, other in (("?recipe=0", "?recipe=1"), ("?recipe=1", "?recipe=0")):
        assert client.get(url + query, headers={"if-none-match": tags[query]}).status_code == 304
        assert client.get(url + query, headers={"if-none-match": tags[other]}).status_code == 200


@pytest.mark.usefixtures("signed_or_not")
def test_without_the_recipe_the_name_is_silent_too(alice: User, team: Project, login: Login) -> None:
    image = pictures.image(project=team)
    client, url = login(alice), reverse("image_download", args=[image.pk])
    assert "pizza" in client.get(url).headers["Content-Disposition"]
    name = client.get(f"{url}?recipe=0").headers["Content-Disposition"]
    assert name == f'attachment; filename="picture-{image.pk.hex[:8]}.png"'


@pytest.mark.usefixtures("signed_or_not")
def test_an_old_file_gets_its_mark_on_the_way(alice: User, team: Project, login: Login) -> None:
    """Drawn before marks were written; what is not ours stays."""
    image = pictures.image(project=team)
    storage.picture_path(image).write_bytes(pictures.png(seed=7))
    assert carries(taken(login(alice), image))
    assert not carries(taken(login(alice), image, "?recipe=0"))


@pytest.mark.usefixtures("signed_or_not")
def test_a_damaged_file_is_gone_rather_than_told(alice: User, team: Project, login: Login) -> None:
    image = pictures.image(project=team)
    storage.picture_path(image).write_bytes(storage.picture_path(image).read_bytes()[:60])
    response = login(alice).get(reverse("image_download", args=[image.pk]) + "?recipe=0")
    assert response.status_code == 410


@pytest.mark.parametrize(
    ("on", "who", "links", "words"),
    [
        (True, "alice", ["?recipe=0"], "unless you take it without"),
        (False, "alice", ["?recipe=1"], "preferences</a> keep the recipe out"),
        (True, "bob", ["?recipe=0"], "unless you take it without"),
        (False, "bob", [], "Who drew it keeps the recipe out"),
    ],
)
def test_the_page_offers_what_the_door_gives(
    on: bool, who: str, links: list[str], words: str, alice: User, bob: User, team: Project, login: Login
) -> None:
    User.objects.filter(pk=alice.pk).update(recipes_travel=on)
    image = pictures.image(project=team)
    page = login({"alice": alice, "bob": bob}[who]).get(reverse("image_detail", args=[image.pk])).content.decode()
    url = reverse("image_download", args=[image.pk])
    assert [query for query in ("?recipe=0", "?recipe=1") if f'href="{url}{query}"' in page] == links
    assert f'href="{url}"' in page and words in page


def test_an_edit_of_a_picture_that_was_handed_in_is_a_composite_and_so_are_its_children(
    alice: User, project: Project
) -> None:
    checkpoint = queue.make_checkpoint(capabilities=["text_to_image", "image_to_image"])
    storage.write_atomic(storage.path("uploads/a.png"), b"png")
    upload = alice.uploads.create(file="uploads/a.png", sha256="0", width=32, height=32, size_bytes=3)

    def drawn(**source: Any) -> dict[str, Any]:
        request = request_submit(user=alice, project=project, checkpoint=checkpoint, params=queue.wish(), **source)
        return recipe_of_request(request, 7)

    assert drawn()["digital_source_type"] == "trainedAlgorithmicMedia"
    first = drawn(source_upload=upload)
    assert (first["digital_source_type"], first["source_upload"]) == (
        "compositeWithTrainedAlgorithmicMedia",
        str(upload.pk),
    )
    child = pictures.image(project=project, recipe=first)
    second = drawn(source_image=child)
    assert (second["digital_source_type"], second["source_image"]) == (first["digital_source_type"], str(child.pk))
    machine_made = pictures.image(project=project)
    assert drawn(source_image=machine_made)["digital_source_type"] == "trainedAlgorithmicMedia"
