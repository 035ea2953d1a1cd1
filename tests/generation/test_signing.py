"""Signed downloads: every door, what the manifest says and to whom, parents, and nothing unsigned by mistake."""

import asyncio
import datetime
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import pytest
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generation import storage
from generation.engines.certificates import Certificates
from generation.engines.manifest import HANDED_IN, UNTOLD, VERSION
from generation.engines.png_chunks import head_chunks
from generation.engines.provenance import SOURCE_TYPES
from generation.models import Image, Membership, Project
from generation.services.signing import GENERATIONS
from tests.generation import pictures
from tests.generation.signatures import INVALID, TRUSTED, VALID, certificates, data_hash, put, told

Login = Callable[[User], Client]


@pytest.fixture
def made(settings: Any, tmp_path: Path) -> Certificates:
    """Signing is on."""
    made = certificates()
    settings.C2PA_CERTIFICATE, settings.C2PA_KEY = put(tmp_path / "c2pa", made)
    return made


def taken(client: Client, image: Image, query: str = "") -> bytes:
    """The bytes of a download; they are as long as was promised."""
    response = client.get(reverse("image_download", args=[image.pk]) + query)
    assert isinstance(response, StreamingHttpResponse), (response.status_code, response.content)

    async def read() -> bytes:
        return b"".join([chunk async for chunk in response])

    data = asyncio.run(read())
    assert int(response.headers["Content-Length"]) == len(data)
    return data


def edit_of(parent: Image | None, project: Project, **recipe: Any) -> Image:
    """A picture that was made of another."""
    source = {"source_image": str(parent.pk)} if parent else {}
    said = {"prompt": "a pizza, now red", "capability": "edit", "seed": 7, **source, **recipe}
    return pictures.image(project=project, prompt=said["prompt"], recipe=said)


def test_a_download_verifies(alice: User, team: Project, login: Login, made: Certificates) -> None:
    image = pictures.image(project=team)
    data = taken(login(alice), image)
    assert told(data, anchor=made.anchor).state == TRUSTED
    assert told(data).state == VALID, "sound, and signed by nobody whom this reader knows"
    assert told(data, anchor=certificates().anchor).state == VALID
    said = told(data).active
    assert said["claim"]["claim_generator_info"]["name"] == "Tessera"
    assert said["claim"]["claim_generator_info"]["version"] == VERSION
    assert said["claim"]["dc:title"] == f"picture-{image.pk.hex[:8]}.png"
    assert said["signature"]["issuer"] == "Atelier"
    (action,) = told(data).actions
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", SOURCE_TYPES + "trainedAlgorithmicMedia")
    assert action["softwareAgent"] == {"name": "Tessera", "version": VERSION}


def test_one_changed_byte_is_noticed(alice: User, team: Project, login: Login, made: Certificates) -> None:
    data = bytearray(taken(login(alice), pictures.image(project=team)))
    data[-40] ^= 1
    assert told(bytes(data), anchor=made.anchor).state == INVALID


def test_the_pixels_and_the_kept_file_stay_as_they_are(
    alice: User, team: Project, login: Login, made: Certificates
) -> None:
    image = pictures.image(project=team)
    kept = storage.picture_path(image).read_bytes()
    first, second = (taken(login(alice), image) for _ in range(2))
    assert first != second, "each is signed anew"
    assert len(first) == len(second)
    assert first[first.index(b"IDAT") :] == kept[kept.index(b"IDAT") :]
    assert storage.picture_path(image).read_bytes() == kept
    assert b"caBX" in [kind for kind, _ in head_chunks(io.BytesIO(first))]
    assert b"caBX" not in [kind for kind, _ in head_chunks(io.BytesIO(kept))]


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("query", ["", "?recipe=0", "?recipe=1"])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_the_prompt_is_told_only_where_the_recipe_is(
    on: bool, query: str, who: str, alice: User, bob: User, team: Project, login: Login, made: Certificates
) -> None:
    User.objects.filter(pk=alice.pk).update(recipes_travel=on)
    image = pictures.image(project=team)
    data = taken(login({"alice": alice, "bob": bob}[who]), image, query)
    expected = {"?recipe=0": False, "?recipe=1": on or who == "alice"}.get(query, on)
    assert told(data, anchor=made.anchor).state == TRUSTED
    assert told(data).recipe == (image.recipe if expected else None)
    assert (b"pizza" in data) == expected, "in no text and in no manifest"


def test_a_recipe_with_odd_words_is_signed_as_it_is(
    alice: User, team: Project, login: Login, made: Certificates
) -> None:
    words = 'a "cat" \\ \u0001 🦊 一只猫 <b>&'
    image = pictures.image(project=team, prompt=words, recipe={"prompt": words, "seed": 2**63 - 1, "guidance": 0.1})
    assert told(taken(login(alice), image)).recipe == image.recipe


def test_a_half_character_is_a_question_mark(alice: User, team: Project, login: Login, made: Certificates) -> None:
    image = pictures.image(project=team, recipe={"prompt": "a cat", "negative_prompt": "\ud800x"})
    recipe = told(taken(login(alice), image)).recipe
    assert recipe is not None and recipe["negative_prompt"] == "?x"


def test_doors_stay_as_they_are(
    alice: User, bob: User, charlie: User, olga: User, team: Project, login: Login, made: Certificates
) -> None:
    image = pictures.image(project=team)
    url = reverse("image_download", args=[image.pk])
    assert [login(person).get(url).status_code for person in (alice, bob, charlie, olga)] == [200, 200, 404, 404]
    assert Client().get(url).status_code == 302


def test_what_pages_show_is_not_signed(alice: User, team: Project, login: Login, made: Certificates) -> None:
    image, client = pictures.image(project=team), login(alice)
    for door in ("image_picture", "image_thumb"):
        response = client.get(reverse(door, args=[image.pk]))
        assert response.headers["ETag"]

        async def read(response: Any = response) -> bytes:
            return b"".join([chunk async for chunk in response])

        assert b"c2pa" not in asyncio.run(read())


def test_without_a_certificate_nothing_is_signed(alice: User, team: Project, login: Login) -> None:
    data = taken(login(alice), pictures.image(project=team))
    with pytest.raises(c2pa.C2paError, match="ManifestNotFound"):
        told(data)


def test_head_promises_what_get_sends_and_no_browser_keeps_it(
    alice: User, team: Project, login: Login, made: Certificates
) -> None:
    url = reverse("image_download", args=[pictures.image(project=team).pk])
    client = login(alice)
    head, get = client.head(url), client.get(url)
    for name in ("Content-Length", "Content-Type", "Content-Disposition", "Cache-Control", "X-Content-Type-Options"):
        assert head.headers[name] == get.headers[name]
    assert (head.content, get.headers["Cache-Control"]) == (b"", "no-store")
    assert "ETag" not in get.headers
    assert client.get(url, headers={"if-none-match": "*"}).status_code == 200


def test_an_edit_names_its_parent(alice: User, team: Project, login: Login, made: Certificates) -> None:
    parent = pictures.image(project=team, seed=1)
    data = taken(login(alice), edit_of(parent, team))
    said = told(data, anchor=made.anchor)
    assert said.state == TRUSTED
    assert [action["action"] for action in said.actions] == ["c2pa.opened", "c2pa.edited"]
    assert said.actions[1]["digitalSourceType"] == SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
    assert said.parent is not None and said.parent_manifest is not None
    assert (said.parent["relationship"], said.parent["dc:title"]) == ("parentOf", f"picture-{parent.pk.hex[:8]}.png")
    assert said.parent["validationResults"]["activeManifest"]["failure"] == []
    named = said.actions[0]["parameters"]["ingredients"]
    assert [ingredient["url"] for ingredient in named] == ["self#jumbf=c2pa.assertions/c2pa.ingredient.v3"]
    alone = told(taken(login(alice), parent, "?recipe=0")).active
    assert data_hash(said.parent_manifest) == data_hash(alone), "the parent is known by its own bytes"
    assert "thumbnail" not in said.words


def test_an_edit_of_what_machines_made_is_still_that(
    alice: User, team: Project, login: Login, made: Certificates
) -> None:
    source = {"digital_source_type": "trainedAlgorithmicMedia"}
    said = told(taken(login(alice), edit_of(pictures.image(project=team), team, **source)))
    assert said.actions[1]["digitalSourceType"] == SOURCE_TYPES + "trainedAlgorithmicMedia"


def test_an_edit_never_carries_its_parents_recipe(alice: User, team: Project, login: Login, made: Certificates) -> None:
    parent = pictures.image(project=team, prompt="a secret garden")
    data = taken(login(alice), edit_of(parent, team))
    assert b"now red" in data and b"secret" not in data


def test_a_parent_that_the_person_may_not_see_is_only_mentioned(
    alice: User, bob: User, project: Project, team: Project, login: Login, made: Certificates
) -> None:
    parent = pictures.image(project=project)  # alice's personal one
    image = edit_of(parent, team)
    assert told(taken(login(alice), image, "?recipe=0")).parent_manifest is not None
    data = taken(login(bob), image, "?recipe=0")
    said = told(data, anchor=made.anchor)
    assert (said.state, len(said.manifests)) == (TRUSTED, 1)
    assert said.parent == {"relationship": "parentOf", "dc:title": UNTOLD}
    assert parent.pk.hex[:8].encode() not in data and str(parent.pk).encode() not in data
    assert [action["action"] for action in said.actions] == ["c2pa.opened", "c2pa.edited"]


@pytest.mark.parametrize("how", ["trash", "row", "file", "damaged", "never", "nonsense"])
def test_a_parent_that_is_gone_is_only_mentioned(
    how: str, alice: User, team: Project, login: Login, made: Certificates
) -> None:
    parent = pictures.image(project=team)
    image = edit_of(None if how == "never" else parent, team, **({"source_image": "x'"} if how == "nonsense" else {}))
    if how == "trash":
        Image.objects.filter(pk=parent.pk).update(trashed_at=timezone.now())
    elif how == "row":
        parent.delete()
    elif how == "file":
        storage.picture_path(parent).unlink()
    elif how == "damaged":
        storage.picture_path(parent).write_bytes(b"\x89PNG")
    said = told(taken(login(alice), image), anchor=made.anchor)
    assert (said.state, len(said.manifests)) == (TRUSTED, 1)
    assert said.parent == {"relationship": "parentOf", "dc:title": UNTOLD}


def test_a_picture_that_was_handed_in_is_mentioned_as_such(
    alice: User, team: Project, login: Login, made: Certificates
) -> None:
    image = edit_of(None, team, source_upload="00000000-0000-0000-0000-000000000000")
    said = told(taken(login(alice), image), anchor=made.anchor)
    assert (said.state, said.parent) == (TRUSTED, {"relationship": "parentOf", "dc:title": HANDED_IN})


def test_ancestors_are_told_up_to_a_number(alice: User, team: Project, login: Login, made: Certificates) -> None:
    image = pictures.image(project=team)
    for seed in range(GENERATIONS + 3):
        image = edit_of(image, team, seed=seed)
    said = told(taken(login(alice), image), anchor=made.anchor)
    assert (said.state, len(said.manifests)) == (TRUSTED, GENERATIONS + 1)


def test_each_ancestor_costs_one_query(alice: User, team: Project, login: Login, made: Certificates) -> None:
    image, client = edit_of(edit_of(pictures.image(project=team), team), team), login(alice)
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse("image_download", args=[image.pk]))
    assert len(queries) == 5, "session, person, picture, two ancestors"


def test_an_ancestor_that_the_person_may_not_see_ends_the_line(
    alice: User, bob: User, project: Project, team: Project, login: Login, made: Certificates
) -> None:
    hidden = pictures.image(project=project)
    image = edit_of(edit_of(hidden, team), team)
    assert len(told(taken(login(alice), image, "?recipe=0")).manifests) == 3
    data = taken(login(bob), image, "?recipe=0")
    assert len(told(data).manifests) == 2
    assert hidden.pk.hex[:8].encode() not in data
    Membership.objects.filter(user=bob).delete()
    assert login(bob).get(reverse("image_download", args=[image.pk])).status_code == 404


@pytest.mark.parametrize("wrong", ["no key", "no certificate", "missing", "other key", "ended", "nonsense"])
def test_what_cannot_be_signed_is_not_handed_out(
    wrong: str,
    alice: User,
    team: Project,
    login: Login,
    settings: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    long_ago = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC) if wrong == "ended" else None
    chain, key = put(tmp_path / "c2pa", certificates(30, now=long_ago))
    settings.C2PA_CERTIFICATE, settings.C2PA_KEY = chain, key
    if wrong == "no key":
        settings.C2PA_KEY = None
    elif wrong == "no certificate":
        settings.C2PA_CERTIFICATE = None
    elif wrong == "missing":
        chain.unlink()
    elif wrong == "other key":
        key.write_bytes(certificates().key)
    elif wrong == "nonsense":
        chain.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    image, client = pictures.image(project=team), login(alice)
    with caplog.at_level(logging.ERROR, logger="generation.views.media"):
        response = client.get(reverse("image_download", args=[image.pk]))
    assert response.status_code == 503
    assert b"could not be signed" in response.content and b"IDAT" not in response.content
    assert reverse("image_detail", args=[image.pk]).encode() in response.content
    assert "Content-Disposition" not in response.headers and "no-store" in response.headers["Cache-Control"]
    (record,) = [record for record in caplog.records if record.name == "generation.views.media"]
    assert str(image.pk) in record.getMessage() and "PRIVATE" not in record.getMessage()
    assert client.get(reverse("image_picture", args=[image.pk])).status_code == 200


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_file_that_is_gone_is_told_as_without_signing(
    how: str, alice: User, team: Project, login: Login, made: Certificates
) -> None:
    image = pictures.image(project=team)
    path = storage.picture_path(image)
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:60])
    response = login(alice).get(reverse("image_download", args=[image.pk]))
    assert (response.status_code, b"is gone" in response.content) == (410, True)


def test_the_page_says_so(alice: User, team: Project, login: Login, made: Certificates, settings: Any) -> None:
    url = reverse("image_detail", args=[pictures.image(project=team).pk])
    assert b"signed (C2PA)" in login(alice).get(url).content
    settings.C2PA_CERTIFICATE = settings.C2PA_KEY = None
    assert b"C2PA" not in login(alice).get(url).content
