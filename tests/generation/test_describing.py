"""Describing and editing as the doors see it: whose it is, what is offered, what the rows and pages then say."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from core.errors import TesseraError
from generation import scheduler, storage
from generation.engines.params import QUESTION
from generation.models import Checkpoint, Device, GenerationRequest, Image, Project, Upload
from generation.payloads import request_payload
from generation.services.describing import request_describe
from generation.services.devices import device_ensure
from generation.services.projects import project_personal
from generation.services.requests import request_cancel, request_retry, request_submit
from generation.services.transitions import (
    LeaseLostError,
    request_complete,
    request_fail,
    request_give_back,
    request_run,
    request_save,
    request_words,
)
from tests.generation import pictures

Login = Callable[[User], Client]
HTMX = {"hx-request": "true"}
LOOKS = ["text_to_image", "edit", "describe"]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(stage: Path) -> Path:
    """Pictures go to a folder of the test."""
    return stage


@pytest.fixture
def diffusion(db: None) -> Checkpoint:
    return pictures.checkpoint(capabilities=["text_to_image", "image_to_image"])


@pytest.fixture
def looking(db: None) -> Checkpoint:
    defaults = {"temperature": 0.3, "guidance": 1.0}
    return pictures.checkpoint(
        "looking", title="Looking", family="multimodal", capabilities=LOOKS, defaults=defaults, is_starter=True
    )


def make_upload(owner: User) -> Upload:
    file = f"uploads/{uuid.uuid4()}.png"
    storage.write_atomic(storage.path(file), pictures.png())
    return Upload.objects.create(owner=owner, file=file, sha256=file[-64:], width=64, height=64, size_bytes=1)


def claim() -> GenerationRequest:
    request = scheduler.claim_next(device_ensure(), [])
    assert request is not None
    return request


def finish(request: GenerationRequest, answer: str) -> None:
    request_run(request=request)
    request_save(request=request)
    assert request_complete(request=request, pictures=[], figures={}, answer=answer)
    request.refresh_from_db()


def test_a_description_waits_in_the_same_queue(alice: User, project: Project, looking: Checkpoint) -> None:
    first = request_submit(
        user=alice, project=project, checkpoint=looking, params={"prompt": "a cat", "width": 64, "height": 64}
    )
    made = request_describe(user=alice, source_image=pictures.image(project=project))
    assert (made.capability, made.prompt, made.state, made.checkpoint) == ("describe", QUESTION, "queued", looking)
    assert made.project == project_personal(alice)
    assert [request_payload(request).get("position") for request in (first, made)] == [1, 2]
    assert request_describe(user=alice, source_upload=make_upload(alice), question=" what? ").prompt == "what?"


def test_its_own_checkpoint_goes_before_the_starter(alice: User, project: Project, looking: Checkpoint) -> None:
    image = pictures.image(project=project)
    own = pictures.checkpoint("ours", capabilities=LOOKS)
    pictures.checkpoint("another-that-only-draws")
    assert request_describe(user=alice, source_image=image).checkpoint == own
    Checkpoint.objects.filter(pk=own.pk).update(enabled=False)
    assert request_describe(user=alice, source_image=image).checkpoint == looking


def test_refusals_are_sentences(
    alice: User, charlie: User, project: Project, looking: Checkpoint, diffusion: Checkpoint, settings: Any
) -> None:
    image, upload = pictures.image(project=project), make_upload(charlie)
    for source in ({}, {"source_upload": upload}):
        with pytest.raises(TesseraError, match="picture"):
            request_describe(user=alice, **source)  # type: ignore[arg-type]
    with pytest.raises(TesseraError, match="cannot describe pictures"):
        request_submit(user=alice, project=project, checkpoint=diffusion, params={}, source_image=image, describe=True)
    settings.MAX_QUEUED = 1
    request_describe(user=alice, source_image=image)
    with pytest.raises(TesseraError, match="1 is the most"):
        request_describe(user=alice, source_image=image)
    settings.MAX_QUEUED = 9
    Checkpoint.objects.filter(pk=looking.pk).update(enabled=False)
    with pytest.raises(TesseraError, match="No checkpoint that is switched on can describe"):
        request_describe(user=alice, source_image=image)


def test_an_answer_grows_and_is_kept_only_whole(alice: User, project: Project, looking: Checkpoint) -> None:
    image = pictures.image(project=project)
    request_describe(user=alice, source_image=image)
    claimed = claim()
    request_words(request=claimed, answer="a cat")
    claimed.refresh_from_db()
    assert request_payload(claimed)["answer"] == "a cat", "who comes late reads what has been said"
    request_give_back(request=claimed)
    claimed.refresh_from_db()
    assert (claimed.state, claimed.answer) == ("queued", "")
    with pytest.raises(LeaseLostError):
        request_run(request=claimed)
    again = claim()
    request_words(request=again, answer="a dog")
    finish(again, "a dog on blue")
    assert (again.state, again.answer, request_payload(again)["answer"]) == ("completed",) + ("a dog on blue",) * 2
    assert not Image.objects.filter(request=again).exists()


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_half_an_answer_is_none(end: str, alice: User, project: Project, looking: Checkpoint) -> None:
    made = request_describe(user=alice, source_image=pictures.image(project=project))
    claimed = claim()
    request_words(request=claimed, answer="a cat")
    if end == "fail":
        request_fail(request=claimed, code="x", message="Broken.")
    else:
        request_cancel(request=made)
        request_give_back(request=claimed)
    made.refresh_from_db()
    assert (made.state, made.answer) == ("failed" if end == "fail" else "canceled", "")
    again = request_retry(request=made, user=alice)
    assert (again.capability, again.source_image) == ("describe", made.source_image)
    Image.objects.all().delete()
    made.refresh_from_db()
    with pytest.raises(TesseraError, match="not there any more"):
        request_retry(request=made, user=alice)


def test_who_lost_the_lease_says_nothing(alice: User, project: Project, looking: Checkpoint) -> None:
    request_describe(user=alice, source_image=pictures.image(project=project))
    claimed = claim()
    GenerationRequest.objects.update(state="failed", lease_token=None)
    request_words(request=claimed, answer="a cat")
    claimed.refresh_from_db()
    assert claimed.answer == ""


@pytest.mark.parametrize(
    ("abilities", "capability"), [(LOOKS, "edit"), (["text_to_image", "image_to_image", "edit"], "image_to_image")]
)
def test_a_picture_for_a_checkpoint_that_edits_is_edited(
    abilities: list[str], capability: str, alice: User, project: Project, login: Login
) -> None:
    checkpoint = pictures.checkpoint("able", capabilities=abilities)
    image = pictures.image(project=project)
    wish = {"prompt": "swap them", "checkpoint": checkpoint.name, "size": "64x64", "count": "2"}
    wish |= {"project": str(project.pk), "source_image": str(image.pk)}
    assert login(alice).post("/requests/new/", wish, headers=HTMX).status_code == 200
    request = GenerationRequest.objects.get()
    assert (request.capability, request.source_image, request.prompt) == (capability, image, "swap them")
    assert (request.project, request.param("count")) == (project, 2)


def test_an_edit_says_so_everywhere(alice: User, project: Project, login: Login, looking: Checkpoint) -> None:
    source, client = pictures.image(project=project, seed=1), login(alice)
    request = request_submit(
        user=alice,
        project=project,
        checkpoint=looking,
        params={"prompt": "swap them", "width": 64, "height": 64},
        source_image=source,
    )
    recipe = {"prompt": "swap them", "capability": "edit", "seed": 3}
    image = pictures.image(project=project, request=request, prompt="swap them", recipe=recipe)
    for url in ("/", "/history/", f"/requests/{request.pk}/card/"):
        assert "edits a picture" in client.get(url).content.decode(), url
    assert f'href="/?source={image.pk}"' not in client.get("/").content.decode(), "not before it is drawn"
    GenerationRequest.objects.update(state="completed")
    assert f'href="/?source={image.pk}"' in client.get("/").content.decode(), "the next edit begins with its result"
    detail = client.get(f"/images/{image.pk}/").content.decode()
    assert "Instruction" in detail and "changed by this instruction" in detail
    assert "Copy the instruction" in detail
    remix = client.get(f"/?remix={image.pk}").content.decode()
    assert f'name="source_image" value="{source.pk}"' in remix and "swap them" in remix


def test_the_studio_tells_that_the_prompt_instructs(
    alice: User, project: Project, login: Login, looking: Checkpoint, diffusion: Checkpoint
) -> None:
    image, client = pictures.image(project=project), login(alice)
    html = client.get("/").content.decode()
    uses = dict(re.findall(r'value="([\w-]+)"[^>]*data-uses="([^"]*)"', html))
    assert {"edit", "source"} <= set(uses["looking"].split())
    assert "source" in uses[diffusion.name].split() and "edit" not in uses[diffusion.name].split()
    assert "Edits by instruction" in html and "Describes pictures" in html
    Checkpoint.objects.filter(pk=diffusion.pk).update(enabled=False)
    html = client.get(f"/?source={image.pk}").content.decode()
    assert f'name="source_image" value="{image.pk}"' in html


def test_describe_is_offered_where_it_can_be_done(
    alice: User, project: Project, login: Login, looking: Checkpoint
) -> None:
    image, upload, client = pictures.image(project=project), make_upload(alice), login(alice)
    request_submit(
        user=alice,
        project=project,
        checkpoint=looking,
        params={"prompt": "swap them", "width": 64, "height": 64},
        source_upload=upload,
    )
    again = GenerationRequest.objects.get()
    pages = {
        f"/images/{image.pk}/": f"/images/{image.pk}/describe/",
        f"/?source={image.pk}": f"/images/{image.pk}/describe/",
        f"/?again={again.pk}": f"/uploads/{upload.pk}/describe/",
    }
    for url, action in pages.items():
        assert action in client.get(url).content.decode(), url
    Image.objects.update(trashed_at=timezone.now())
    assert pages[f"/images/{image.pk}/"] not in client.get(f"/images/{image.pk}/").content.decode()
    Image.objects.update(trashed_at=None)
    Checkpoint.objects.update(capabilities=["text_to_image", "edit"])
    for url, action in pages.items():
        assert action not in client.get(url).content.decode(), url


def test_describe_from_the_pages(alice: User, project: Project, login: Login, looking: Checkpoint) -> None:
    image, upload, client = pictures.image(project=project), make_upload(alice), login(alice)
    for picture, kind in ((image, "images"), (upload, "uploads")):
        answer = client.post(f"/{kind}/{picture.pk}/describe/", headers=HTMX)
        request = GenerationRequest.objects.first()
        assert request is not None
        html = answer.content.decode()
        assert answer.status_code == 200 and f'data-request="{request.pk}"' in html
        assert "<canvas" not in html and "data-request-answer" in html
        assert (f"/images/{picture.pk}/picture.png" if kind == "images" else f"/uploads/{picture.pk}/picture/") in html
        assert (request.source_image_id or request.source_upload_id) == picture.pk
        assert client.post(f"/{kind}/{picture.pk}/describe/").url == "/"  # type: ignore[attr-defined]
    assert client.get(f"/images/{image.pk}/describe/").status_code == 405
    Checkpoint.objects.update(enabled=False)
    refused = client.post(f"/images/{image.pk}/describe/", headers=HTMX)
    assert refused.status_code == 422 and "can describe pictures" in refused.headers["HX-Trigger"]
    page = client.post(f"/images/{image.pk}/describe/", follow=True)
    assert "can describe pictures" in page.content.decode()


def test_an_answer_is_shown_to_who_asked_and_to_nobody_else(
    alice: User, bob: User, team: Project, login: Login, looking: Checkpoint
) -> None:
    image = pictures.image(project=team)
    theirs = request_describe(user=bob, source_image=image)  # a viewer sees the picture, so may ask about it
    finish(claim(), "a cat that bob asked about")
    theirs.refresh_from_db()
    own, other = login(bob), login(alice)
    for url in ("/", "/history/", f"/requests/{theirs.pk}/card/", f"/images/{image.pk}/"):
        assert "bob asked about" in own.get(url).content.decode(), url
    for url in ("/", "/history/", f"/images/{image.pk}/", f"/projects/{team.pk}/"):
        assert "bob asked about" not in other.get(url).content.decode(), url
    assert other.get(f"/requests/{theirs.pk}/card/").status_code == 404
    team.memberships.all().delete()
    card = own.get(f"/requests/{theirs.pk}/card/").content.decode()
    assert "bob asked about" in card and str(image.pk) not in card, "the picture is closed to bob now"


def test_no_words_are_said_so(alice: User, project: Project, login: Login, looking: Checkpoint) -> None:
    request_describe(user=alice, source_image=pictures.image(project=project))
    finish(claim(), "")
    assert "It found no words" in login(alice).get("/").content.decode()


def test_a_description_changes_nothing_of_the_last_choice(
    alice: User, project: Project, login: Login, looking: Checkpoint, diffusion: Checkpoint
) -> None:
    params = {"prompt": "a cat", "width": 64, "height": 64}
    request_submit(user=alice, project=project, checkpoint=diffusion, params=params)
    request_describe(user=alice, source_image=pictures.image(project=project))
    html = login(alice).get("/").content.decode()
    assert f'value="{diffusion.name}" checked' in html and f'value="{looking.name}" checked' not in html


def test_operators_read_no_answer_without_a_line(
    alice: User, olga: User, project: Project, login: Login, looking: Checkpoint
) -> None:
    request = request_describe(user=alice, source_image=pictures.image(project=project))
    finish(claim(), "a secret cat")
    client = login(olga)
    base = "/admin/generation/generationrequest/"
    for url in (base, f"{base}{request.pk}/change/", f"{base}{request.pk}/look/"):
        html = client.get(url).content.decode()
        assert "a secret cat" not in html and QUESTION not in html, url
    assert "Description" in client.get(base).content.decode()
    assert client.get(f"{base}?answer__startswith=a").status_code == 400
    shown = client.post(f"{base}{request.pk}/look/", {"reason": "ticket 12"}).content.decode()
    assert "a secret cat" in shown
    assert "ticket 12" in login(alice).get(reverse("activity")).content.decode()


def test_pages_ask_the_database_as_often_for_many_descriptions(
    alice: User, project: Project, login: Login, looking: Checkpoint, django_assert_max_num_queries: Any
) -> None:
    Device.objects.get_or_create(name="main")
    client = login(alice)
    counts = []
    for _ in range(2):
        for _ in range(3):
            request_describe(user=alice, source_image=pictures.image(project=project))
            finish(claim(), "a cat")
        with django_assert_max_num_queries(60) as seen:
            client.get("/history/")
        counts.append(len(seen))
    assert counts[0] == counts[1]
