"""Asking for pictures from the page: taken, refused at the field, canceled, tried again; and never by a stranger."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.models import User
from generation.models import Checkpoint, GenerationRequest, Image, Membership, Project, Upload
from tests.generation import pictures

Login = Callable[[User], Client]
HTMX = {"hx-request": "true"}
BOTH = ["text_to_image", "image_to_image"]


@pytest.fixture
def diffusion(db: None) -> Checkpoint:
    defaults = {"steps": 8, "guidance": 3.0, "strength": 0.6}
    return pictures.checkpoint(capabilities=BOTH, sizes=[[64, 64], [96, 64]], defaults=defaults)


@pytest.fixture
def multimodal(db: None) -> Checkpoint:
    return pictures.checkpoint(
        "starter-multimodal",
        family="multimodal",
        title="Starter Multimodal",
        defaults={"temperature": 0.5, "guidance": 2.0},
    )


@pytest.fixture
def wish(project: Project, diffusion: Checkpoint) -> dict[str, Any]:
    return {"prompt": "a cat", "checkpoint": diffusion.name, "size": "64x64", "count": "2", "project": str(project.pk)}


def submit(client: Client, wish: dict[str, Any], **changes: Any) -> Any:
    return client.post("/requests/new/", wish | changes, headers=HTMX)


def test_a_scheduler_is_chosen_among_those_of_the_checkpoint(
    alice: User, login: Login, wish: dict[str, Any], diffusion: Checkpoint, multimodal: Checkpoint
) -> None:
    Checkpoint.objects.filter(pk=diffusion.pk).update(schedulers=["ddim", "euler"])
    client = login(alice)
    submit(client, wish, scheduler="ddim")
    submit(client, wish, scheduler="")
    submit(client, wish, checkpoint=multimodal.name, scheduler="ddim")
    asked = [request.params.get("scheduler") for request in GenerationRequest.objects.order_by("created_at")]
    assert asked == ["ddim", None, None], "what a checkpoint has no use for is forgotten"
    for name, words in {"heun": "It can use ddim, euler.", "magic": "There is no such scheduler."}.items():
        refused = submit(client, wish, scheduler=name)
        assert refused.status_code == 422
        assert 'id="error-scheduler" hx-swap-oob="innerHTML">' in refused.content.decode()
        assert words in refused.content.decode()
    assert GenerationRequest.objects.count() == 3
    assert 'data-schedulers="ddim euler"' in client.get("/").content.decode()
    chosen = GenerationRequest.objects.get(params__scheduler="ddim")
    assert client.get(f"/?again={chosen.pk}").context["form"]["scheduler"].value() == "ddim"


def made() -> GenerationRequest:
    return GenerationRequest.objects.get()


def test_taken(alice: User, login: Login, wish: dict[str, Any]) -> None:
    answer = submit(login(alice), wish, seed="7", steps="20", guidance="", negative_prompt="rain")
    html = answer.content.decode()
    request = made()
    assert answer.status_code == 200
    assert f'data-request="{request.pk}"' in html
    assert html.count("<canvas") == 2
    assert "Next in the queue" in html
    assert 'id="error-prompt" hx-swap-oob="innerHTML"></p>' in html
    assert (request.owner, request.prompt, request.state) == (alice, "a cat", "queued")
    wanted = {"width": 64, "height": 64, "count": 2, "seed": 7, "steps": 20, "guidance": None}
    assert {name: request.params[name] for name in wanted} == wanted
    assert request.params["negative_prompt"] == "rain"


def test_an_empty_seed_is_a_random_one(alice: User, login: Login, wish: dict[str, Any]) -> None:
    submit(login(alice), wish, seed="")
    assert 0 <= made().params["seed"] < 2**31


def test_without_javascript(alice: User, login: Login, wish: dict[str, Any]) -> None:
    answer = login(alice).post("/requests/new/", wish)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_without_javascript_nothing_typed_is_lost(alice: User, login: Login, wish: dict[str, Any]) -> None:
    answer = login(alice).post("/requests/new/", wish | {"prompt": "a very long wish", "seed": "abc"})
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "a very long wish" in html
    assert 'value="abc"' in html
    assert "Use a whole number from 0" in html


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("prompt", "", "Describe the picture"),
        ("prompt", "   ", "Describe the picture"),
        ("prompt", "x" * 4001, "4000 is the most"),
        ("checkpoint", "", "Choose a checkpoint"),
        ("checkpoint", "unknown", "does not exist or is switched off"),
        ("size", "65x64", "64x64, 96x64"),
        ("size", "99999x64", "longest edge"),
        ("size", "large", "sizes in the list"),
        ("count", "0", "1 to 4"),
        ("count", "5", "1 to 4"),
        ("count", "many", "1 to 4"),
        ("seed", "-1", "whole number"),
        ("seed", "1.5", "whole number"),
        ("seed", str(2**63), "whole number"),
        ("steps", "0", "from 1 to 150"),
        ("steps", "151", "from 1 to 150"),
        ("guidance", "31", "from 0 to 30"),
        ("guidance", "nan", "from 0 to 30"),
        ("project", "", "Choose the project"),
        ("project", str(uuid.UUID(int=1)), "may not draw"),
        ("project", "nonsense", "may not draw"),
        ("source_image", str(uuid.UUID(int=1)), "not there any more"),
        ("source_upload", "nonsense", "not there any more"),
    ],
)
def test_refused_at_the_field(
    alice: User, login: Login, wish: dict[str, Any], field: str, value: str, words: str
) -> None:
    answer = submit(login(alice), wish, **{field: value})
    html = answer.content.decode()
    assert answer.status_code == 422
    assert answer.headers["HX-Reswap"] == "none"
    place = "source_file" if field.startswith("source") else field
    own = html.split(f'id="error-{place}" hx-swap-oob="innerHTML">')[1].split("</p>")[0]
    assert words in own
    assert words in html.split("</div>")[0]
    assert not GenerationRequest.objects.exists()


def test_exactly_4000_characters_are_fine(alice: User, login: Login, wish: dict[str, Any]) -> None:
    assert submit(login(alice), wish, prompt="x" * 4000).status_code == 200


def test_a_disabled_checkpoint(alice: User, login: Login, wish: dict[str, Any]) -> None:
    Checkpoint.objects.update(enabled=False)
    assert "switched off" in submit(login(alice), wish).content.decode()


def test_what_the_checkpoint_has_no_use_for_is_ignored(
    alice: User, login: Login, wish: dict[str, Any], multimodal: Checkpoint
) -> None:
    wrong = {"steps": "9000", "strength": "x", "negative_prompt": "rain", "temperature": "0.7"}
    assert submit(login(alice), wish, checkpoint=multimodal.name, **wrong).status_code == 200
    params = made().params
    assert (params["steps"], params["strength"], params["negative_prompt"]) == (None, None, "")
    assert params["temperature"] == 0.7


def test_a_picture_for_a_checkpoint_that_cannot_use_it_is_refused(
    alice: User, project: Project, login: Login, wish: dict[str, Any], multimodal: Checkpoint
) -> None:
    image = pictures.image(project=project)
    answer = submit(login(alice), wish, checkpoint=multimodal.name, source_image=str(image.pk))
    assert "cannot start from a picture" in answer.content.decode()


def test_from_a_gallery(alice: User, project: Project, login: Login, wish: dict[str, Any]) -> None:
    image = pictures.image(project=project)
    assert submit(login(alice), wish, source_image=str(image.pk), strength="0.4").status_code == 200
    request = made()
    assert (request.capability, request.source_image, request.params["strength"]) == ("image_to_image", image, 0.4)


def test_from_a_file_without_javascript(alice: User, login: Login, wish: dict[str, Any]) -> None:
    file = SimpleUploadedFile("cat.png", pictures.png())
    assert login(alice).post("/requests/new/", wish | {"source_file": file}).status_code == 302
    assert made().source_upload == Upload.objects.get(owner=alice)


def test_from_a_broken_file_without_javascript(alice: User, login: Login, wish: dict[str, Any]) -> None:
    file = SimpleUploadedFile("cat.svg", b"<svg></svg>")
    answer = login(alice).post("/requests/new/", wish | {"source_file": file})
    assert answer.status_code == 422
    assert "An SVG is a drawing" in answer.content.decode()


def test_pictures_of_others_cannot_be_used(
    bob: User, charlie: User, project: Project, login: Login, diffusion: Checkpoint, wish: dict[str, Any]
) -> None:
    mine = Project.objects.create(name="Personal", kind=Project.Kind.PERSONAL, owner=charlie)
    image = pictures.image(project=project)
    upload = Upload.objects.create(owner=bob, file="x.png", sha256="", width=8, height=8, size_bytes=1)
    for source in ({"source_image": str(image.pk)}, {"source_upload": str(upload.pk)}):
        answer = submit(login(charlie), wish, project=str(mine.pk), **source)
        assert answer.status_code == 422
        assert "not there any more" in answer.content.decode()


def test_who_may_draw_where(bob: User, team: Project, login: Login, wish: dict[str, Any]) -> None:
    assert submit(login(bob), wish, project=str(team.pk)).status_code == 422
    Membership.objects.update(role=Membership.Role.EDITOR)
    assert submit(login(bob), wish, project=str(team.pk)).status_code == 200


def test_too_many_in_the_queue(alice: User, login: Login, wish: dict[str, Any], settings: Any) -> None:
    settings.MAX_QUEUED = 1
    submit(login(alice), wish)
    answer = submit(login(alice), wish)
    assert answer.status_code == 422
    assert "1 is the most" in answer.content.decode()


@pytest.mark.parametrize("key", ["nonsense", "nul\0", "", "00000000-0000-0000-0000-000000000000", "1'--"])
@pytest.mark.parametrize("name", ["source_upload", "source_image"])
def test_a_key_that_is_none_is_refused_with_words(
    alice: User, login: Login, wish: dict[str, Any], name: str, key: str
) -> None:
    client = login(alice)
    page, part = client.post("/requests/new/", wish | {name: key, "count": "99"}), submit(client, wish, **{name: key})
    assert page.status_code == 422
    assert part.status_code == (422 if key else 200)
    assert ("Hand it in again" in page.content.decode()) == bool(key)


def test_a_source_in_the_trash_is_gone_for_a_viewer(
    alice: User, bob: User, team: Project, login: Login, wish: dict[str, Any]
) -> None:
    image = pictures.image(project=team, trashed_at=timezone.now())
    mine = Project.objects.create(owner=bob, name="Personal", kind=Project.Kind.PERSONAL)
    answer = submit(login(bob), wish, project=str(mine.pk), source_image=str(image.pk))
    assert "not there any more" in answer.content.decode()
    params = {"width": 64, "height": 64, "count": 1}
    failed = GenerationRequest.objects.create(
        owner=bob, project=mine, checkpoint=Checkpoint.objects.get(), prompt="a cat", params=params, state="failed",
        capability="image_to_image", source_image=image,
    )  # fmt: skip
    answer = login(bob).post(f"/requests/{failed.pk}/retry/", headers=HTMX)
    assert answer.status_code == 422
    assert "not there any more" in answer.headers["HX-Trigger"]
    assert GenerationRequest.objects.count() == 1


def test_cancel(alice: User, login: Login, wish: dict[str, Any]) -> None:
    client = login(alice)
    submit(client, wish)
    answer = client.post(f"/requests/{made().pk}/cancel/", headers=HTMX)
    assert made().state == "canceled"
    assert answer.headers["HX-Retarget"] == f"#request-{made().pk}"
    assert "Try again" in answer.content.decode()
    assert client.post(f"/requests/{made().pk}/cancel/").status_code == 302


def test_cancel_while_it_is_drawn(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    request = GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=diffusion, prompt="a cat", state="running", lease_token=uuid.uuid4()
    )
    client = login(alice)
    assert client.post(f"/requests/{request.pk}/cancel/", headers=HTMX).status_code == 204
    request.refresh_from_db()
    assert request.cancel_requested_at is not None
    assert "Stopping…" in client.get(f"/requests/{request.pk}/card/").content.decode()


def test_retry(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    params = {"width": 64, "height": 64, "count": 1, "seed": 3}
    request = GenerationRequest.objects.create(
        owner=alice,
        project=project,
        checkpoint=diffusion,
        prompt="a boat",
        params=params,
        state="failed",
        error_message="The room was lost.",
        error_hint="Try again.",
    )
    client = login(alice)
    assert "The room was lost." in client.get(f"/requests/{request.pk}/card/").content.decode()
    answer = client.post(f"/requests/{request.pk}/retry/", headers=HTMX)
    again = GenerationRequest.objects.get(state="queued")
    assert f'data-request="{again.pk}"' in answer.content.decode()
    assert again.params["seed"] == 3


def test_retry_of_a_finished_one_is_refused(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    request = GenerationRequest.objects.create(
        owner=alice, project=project, checkpoint=diffusion, prompt="a boat", state="completed"
    )
    client = login(alice)
    answer = client.post(f"/requests/{request.pk}/retry/", headers=HTMX)
    assert answer.status_code == 422
    assert json.loads(answer.headers["HX-Trigger"])["toast"]["level"] == "error"
    plain = client.post(f"/requests/{request.pk}/retry/", follow=True)
    assert "Only a request that failed" in plain.content.decode()


def test_a_finished_card_shows_pictures(alice: User, project: Project, login: Login, diffusion: Checkpoint) -> None:
    request = GenerationRequest.objects.create(
        owner=alice,
        project=project,
        checkpoint=diffusion,
        prompt="a boat <script>",
        state="completed",
        params={"width": 64, "height": 64, "count": 2},
    )
    for index in range(2):
        pictures.image(project=project, request=request, index=index)
    Image.objects.filter(index=1).update(trashed_at="2026-01-01T00:00Z")
    html = login(alice).get(f"/requests/{request.pk}/card/").content.decode()
    kept = Image.objects.get(index=0)
    assert html.count("<img") == 1
    assert f'src="/images/{kept.pk}/picture.png"' in html
    assert "hx-trigger" not in html
    assert "<script>" not in html


@pytest.mark.parametrize("action", ["card", "cancel", "retry"])
def test_strangers(
    alice: User, bob: User, olga: User, team: Project, diffusion: Checkpoint, login: Login, client: Client, action: str
) -> None:
    request = GenerationRequest.objects.create(
        owner=alice, project=team, checkpoint=diffusion, prompt="a cat", state="failed"
    )
    url = f"/requests/{request.pk}/{action}/"
    for person in (bob, olga):
        door = login(person)
        assert (door.get(url) if action == "card" else door.post(url)).status_code == 404
    assert (client.get(url) if action == "card" else client.post(url)).status_code == 302
    assert GenerationRequest.objects.count() == 1


@pytest.mark.parametrize(
    "path", ["/requests/new/", f"/requests/{uuid.UUID(int=1)}/cancel/", f"/requests/{uuid.UUID(int=1)}/retry/"]
)
def test_changes_are_posts(alice: User, login: Login, path: str) -> None:
    assert login(alice).get(path).status_code == 405
