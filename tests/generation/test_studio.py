"""The studio's page: what it shows, what fills the form, and what one may not fill it with."""

import uuid
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from generation import snapshot
from generation.models import Checkpoint, Device, GenerationRequest, Image, Project, Upload
from generation.views.cards import position_words
from generation.views.prefill import FOREIGN, GONE, STALE
from tests.generation import pictures

Login = Callable[[User], Client]
ROOM = ["text_to_image", "image_to_image"]


@pytest.fixture
def diffusion(db: None) -> Checkpoint:
    return pictures.checkpoint(
        capabilities=ROOM,
        sizes=[[64, 64], [96, 64]],
        defaults={"steps": 8, "guidance": 3.0, "strength": 0.6},
        seconds_per_picture=6.4,
    )


@pytest.fixture
def multimodal(db: None) -> Checkpoint:
    return pictures.checkpoint(
        "starter-multimodal",
        family="multimodal",
        title="Starter Multimodal",
        defaults={"temperature": 0.5, "guidance": 2.0},
    )


def page(client: Client, url: str = "/") -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_the_first_visit(charlie: User, login: Login, diffusion: Checkpoint, multimodal: Checkpoint) -> None:
    html = page(login(charlie))
    assert "a cat left of a pizza on blue" in html
    assert "Starts from a picture" in html
    assert "About 6 s a picture" in html
    assert "Time not measured yet" in html
    assert 'data-uses="guidance negative_prompt source steps strength"' in html
    assert 'data-uses="guidance temperature"' in html
    assert Project.objects.get(owner=charlie).kind == Project.Kind.PERSONAL


def test_no_checkpoint_at_all(charlie: User, login: Login) -> None:
    assert "No checkpoint is switched on" in page(login(charlie))


def test_a_disabled_checkpoint_is_not_offered(alice: User, login: Login, diffusion: Checkpoint) -> None:
    Checkpoint.objects.update(enabled=False)
    assert "Starter Diffusion" not in page(login(alice))


def test_only_projects_that_one_may_draw_in(bob: User, team: Project, login: Login, diffusion: Checkpoint) -> None:
    assert "Team" not in page(login(bob))


def test_remix_fills_the_form(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    recipe = {"prompt": "a robot", "seed": 41, "steps": 33, "guidance": 4.5, "negative_prompt": "no rain"}
    recipe["scheduler"] = "euler"
    image = pictures.image(project=project, prompt="a robot", seed=41, width=96, height=64, recipe=recipe)
    form = login(alice).get(f"/?remix={image.pk}").context["form"]
    shown = {name: form[name].value() for name in (*recipe, "size")}
    assert shown == {**recipe, "size": "96x64"}
    assert form["project"].value() == project.pk


def test_remix_of_a_shared_picture_draws_in_an_own_project(
    bob: User, team: Project, login: Login, diffusion: Checkpoint
) -> None:
    image = pictures.image(project=team)
    form = login(bob).get(f"/?remix={image.pk}").context["form"]
    assert form["prompt"].value() == image.prompt
    assert form["project"].value() == Project.objects.get(owner=bob).pk


def test_remix_does_not_give_away_the_upload_of_somebody_else(
    alice: User, bob: User, team: Project, login: Login, diffusion: Checkpoint
) -> None:
    upload = Upload.objects.create(owner=alice, file="x.png", sha256="", width=8, height=8, size_bytes=1)
    request = GenerationRequest.objects.create(
        owner=alice, project=team, checkpoint=diffusion, prompt="a cat", source_upload=upload, state="completed"
    )
    image = pictures.image(project=team, request=request)
    assert str(upload.pk) in page(login(alice), f"/?remix={image.pk}")
    assert str(upload.pk) not in page(login(bob), f"/?remix={image.pk}")


def test_a_picture_in_the_trash_is_no_input(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    image, client = pictures.image(project=project), login(alice)
    assert STALE not in page(client, f"/?source={image.pk}")
    assert f"/?source={image.pk}" in page(client, f"/images/{image.pk}/")
    Image.objects.update(trashed_at=timezone.now())
    assert STALE in page(client, f"/?source={image.pk}")
    assert f"/?source={image.pk}" not in page(client, f"/images/{image.pk}/")


def test_a_remix_says_when_its_source_is_gone(
    alice: User, bob: User, team: Project, login: Login, diffusion: Checkpoint
) -> None:
    source = pictures.image(project=team, seed=1)
    request = GenerationRequest.objects.create(
        owner=alice, project=team, checkpoint=diffusion, prompt="a cat", source_image=source, state="completed",
        capability="image_to_image",
    )  # fmt: skip
    image, client = pictures.image(project=team, request=request), login(alice)
    urls = (f"/?remix={image.pk}", f"/?again={request.pk}")
    for url in urls:
        html = page(client, url)
        assert f'value="{source.pk}"' in html
        assert GONE not in html
    Image.objects.filter(pk=source.pk).update(trashed_at=timezone.now())
    assert [GONE in page(client, url) for url in urls] == [True, True]
    source.delete()
    assert [GONE in page(client, url) for url in urls] == [True, True]
    assert FOREIGN not in page(login(bob), urls[0])
    upload = Upload.objects.create(owner=alice, file="x.png", sha256="", width=8, height=8, size_bytes=1)
    GenerationRequest.objects.update(source_upload=upload)
    assert FOREIGN in page(login(bob), urls[0])


def test_it_says_when_drawing_is_paused(alice: User, login: Login, diffusion: Checkpoint) -> None:
    def told() -> tuple[bool, bool]:
        notice = page(client).split("data-stream-paused")[1].split(">")[0]
        return "hidden" not in notice, bool(snapshot.of_user(alice)[0]["paused"])

    client = login(alice)
    assert told() == (False, False)  # nothing has started yet
    _, other = (Device.objects.create(name=name, paused=True) for name in ("one", "two"))
    assert told() == (True, True)
    Device.objects.filter(pk=other.pk).update(paused=False)
    assert told() == (False, False)


def test_a_picture_as_input_chooses_a_checkpoint_that_takes_it(
    alice: User, project: Project, login: Login, diffusion: Checkpoint, multimodal: Checkpoint
) -> None:
    GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=multimodal, prompt="a cat", params={"width": 64, "height": 64}
    )
    image = pictures.image(project=project)
    answer = login(alice).get(f"/?source={image.pk}")
    assert [option.checkpoint for option in answer.context["options"] if option.chosen] == [diffusion]
    assert f'name="source_image" value="{image.pk}"' in answer.content.decode()


def test_again_fills_the_form_from_a_request(
    alice: User, bob: User, project: Project, login: Login, diffusion: Checkpoint
) -> None:
    params = {"width": 96, "height": 64, "count": 3, "seed": 5, "steps": None}
    request = GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=diffusion, prompt="a boat", params=params, state="failed"
    )
    form = login(alice).get(f"/?again={request.pk}").context["form"]
    assert [form[name].value() for name in ("prompt", "size", "count", "seed")] == ["a boat", "96x64", 3, 5]
    assert login(bob).get(f"/?again={request.pk}").status_code == 404


@pytest.mark.parametrize("name", ["remix", "source"])
def test_a_viewer_reads_no_picture_in_the_trash(
    alice: User, bob: User, team: Project, login: Login, diffusion: Checkpoint, name: str
) -> None:
    image = pictures.image(project=team, prompt="my secret boat")
    assert login(bob).get("/", {name: image.pk}).status_code == 200
    Image.objects.update(trashed_at=timezone.now())
    assert login(bob).get("/", {name: image.pk}).status_code == 404
    assert login(alice).get("/", {name: image.pk}).status_code == 200


@pytest.mark.parametrize("name", ["remix", "source", "again", "project"])
def test_what_one_may_not_see_is_not_there(
    charlie: User, team: Project, login: Login, diffusion: Checkpoint, name: str
) -> None:
    image = pictures.image(project=team)
    for value in (image.pk, team.pk, uuid.uuid4(), "nonsense", "1'--"):
        assert login(charlie).get("/", {name: value}).status_code == 404


def test_a_preselected_project(alice: User, team: Project, login: Login, diffusion: Checkpoint) -> None:
    assert login(alice).get(f"/?project={team.pk}").context["form"]["project"].value() == team.pk


def test_cards_of_my_requests_only(
    alice: User, bob: User, project: Project, login: Login, diffusion: Checkpoint
) -> None:
    GenerationRequest.objects.create(owner=alice, project=project, checkpoint=diffusion, prompt="my secret boat")
    assert "my secret boat" in page(login(alice))
    assert "my secret boat" not in page(login(bob))


@pytest.mark.parametrize("count", [1, 5])
def test_queries(
    alice: User,
    project: Project,
    login: Login,
    diffusion: Checkpoint,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    count: int,
) -> None:
    for state in ("queued", "failed", "completed"):
        for number in range(count):
            request = GenerationRequest.objects.create(
                owner=alice, project=project, checkpoint=diffusion, prompt="a cat", state=state
            )
            if state == "completed":
                pictures.image(project=project, request=request, index=number)
    client = login(alice)
    with django_assert_max_num_queries(25):
        client.get("/")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (None, ""),
        (1, "Next in the queue"),
        (2, "2nd in the queue"),
        (3, "3rd in the queue"),
        (11, "11th in the queue"),
        (22, "22nd in the queue"),
        (113, "113th in the queue"),
    ],
)
def test_position_words(place: int | None, words: str) -> None:
    assert position_words(place) == words
