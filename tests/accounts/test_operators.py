"""The operator's door: `is_staff` opens all of it, and nothing private leaks by a lookup."""

import uuid
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, User
from accounts.services import LAST_OPERATOR, user_save
from core.errors import NotAllowedError
from generation.models import Checkpoint, Device, GenerationRequest, Image, Project
from generation.services.requests import BY_OPERATOR
from tests.conftest import PASSWORD
from tests.generation import pictures

Login = Callable[[User], Client]


@pytest.fixture
def staff(db: None) -> User:
    """An operator as another operator makes one: is_staff and nothing else."""
    return User.objects.create_user("sven@example.org", PASSWORD, name="Sven", is_staff=True)


@pytest.fixture
def private(alice: User, team: Project) -> GenerationRequest:
    """Alice's request and its picture, both about zebras."""
    checkpoint = pictures.checkpoint()
    request = GenerationRequest.objects.create(owner=alice, project=team, checkpoint=checkpoint, prompt="zebra")
    pictures.image(project=team, prompt="zebra", request=request)
    return request


@pytest.mark.parametrize(
    ("kind", "lookup"),
    [
        ("generation/generationrequest", "prompt__startswith=zeb"),
        ("generation/generationrequest", "prompt__regex=^z"),
        ("generation/generationrequest", "prompt=zebra"),
        ("generation/generationrequest", "params__icontains=z"),
        ("generation/generationrequest", "checkpoint__requests__prompt__startswith=zeb"),
        ("generation/generationrequest", "images__prompt__startswith=zeb"),
        ("generation/image", "prompt__contains=zeb"),
        ("generation/image", "recipe__prompt=zebra"),
        ("generation/image", "sha256__startswith=a"),
        ("generation/project", "images__prompt__startswith=zeb"),
        ("generation/project", "requests__prompt__startswith=zeb"),
        ("generation/checkpoint", "requests__prompt__startswith=zeb"),
        ("generation/device", "requests__prompt__startswith=zeb"),
        ("accounts/user", "requests__prompt__startswith=zeb"),
        ("accounts/user", "images__prompt__startswith=zeb"),
        ("accounts/auditevent", "owner__requests__prompt__startswith=zeb"),
    ],
)
def test_a_lookup_is_no_way_around_the_look(
    olga: User, login: Login, private: GenerationRequest, kind: str, lookup: str
) -> None:
    page = f"/admin/{kind}/"
    assert login(olga).get(page).status_code == 200
    assert login(olga).get(f"{page}?{lookup}").status_code == 400


@pytest.mark.parametrize(
    ("kind", "lookup"),
    [
        ("generationrequest", "state__exact=queued"),
        ("generationrequest", "checkpoint__id__exact={checkpoint}"),
        ("generationrequest", "error_code="),
        ("generationrequest", "id={id}"),
        ("image", "trashed_at__isempty=1"),
        ("image", "checkpoint_name=starter-diffusion"),
        ("project", "kind__exact=team"),
    ],
)
def test_what_the_page_offers_still_filters(
    olga: User, login: Login, private: GenerationRequest, kind: str, lookup: str
) -> None:
    query = lookup.format(id=private.pk, checkpoint=private.checkpoint_id)
    answer = login(olga).get(f"/admin/generation/{kind}/?{query}")
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == 1


def test_staff_is_all_it_takes(staff: User, login: Login, private: GenerationRequest) -> None:
    client = login(staff)
    device = Device.objects.create(name="main")
    for kind in ("generationrequest", "image", "project", "checkpoint", "device"):
        assert client.get(reverse(f"admin:generation_{kind}_changelist")).status_code == 200, kind
    assert client.get(reverse("admin:accounts_user_changelist")).status_code == 200
    assert client.get(reverse("admin:accounts_auditevent_changelist")).status_code == 200
    url = reverse("admin:generation_generationrequest_changelist")
    client.post(url, {"action": "cancel_selected", "_selected_action": str(private.pk)})
    private.refresh_from_db()
    assert private.state == "canceled"
    client.post(
        reverse("admin:generation_device_changelist"), {"action": "pause_selected", "_selected_action": device.pk}
    )
    device.refresh_from_db()
    assert device.paused
    look = reverse("admin:generation_image_look", args=[Image.objects.get().pk])
    assert b"zebra" in client.post(look, {"reason": "ticket 1"}).content


def test_a_cancel_and_a_retry_by_an_operator_are_told_and_written_down(
    olga: User, alice: User, login: Login, private: GenerationRequest
) -> None:
    client, url = login(olga), reverse("admin:generation_generationrequest_changelist")
    for _ in range(2):  # the second finds it canceled already
        client.post(url, {"action": "cancel_selected", "_selected_action": str(private.pk)})
    private.refresh_from_db()
    assert (private.state, private.error_message) == ("canceled", BY_OPERATOR)
    Image.objects.all().delete()
    GenerationRequest.objects.update(params={"width": 64, "height": 64, "count": 1, "seed": 7})
    client.post(url, {"action": "retry_selected", "_selected_action": str(private.pk)})
    again = GenerationRequest.objects.get(state="queued")
    assert again.owner == alice
    lines = AuditEvent.objects.filter(owner=alice, actor=olga).order_by("created_at")
    assert [(line.verb, line.target_id) for line in lines] == [
        ("request.cancel", str(private.pk)),
        ("request.retry", str(private.pk)),
    ]
    assert "Put a request into the queue again" in login(alice).get(reverse("activity")).content.decode()


def test_switching_a_checkpoint_off_is_written_down(olga: User, login: Login) -> None:
    one = pictures.checkpoint()
    url = reverse("admin:generation_checkpoint_changelist")
    login(olga).post(url, {"action": "disable_selected", "_selected_action": str(one.pk)})
    one.refresh_from_db()
    assert not one.enabled
    line = AuditEvent.objects.get(verb="checkpoint.disable")
    assert (line.actor, line.target_id, line.detail) == (olga, str(one.pk), one.title)


def test_no_page_of_one_row_shows_a_tuple(olga: User, login: Login, private: GenerationRequest) -> None:
    device, client = Device.objects.create(name="main", heartbeat_at=timezone.now()), login(olga)
    for kind, row in (("generationrequest", private), ("device", device)):
        html = client.get(reverse(f"admin:generation_{kind}_change", args=[row.pk])).content.decode()
        assert "(&#x27;" not in html, kind
    assert " s ago" in html


def test_a_deactivated_operator_is_none(staff: User) -> None:
    staff.is_active = False
    assert not staff.has_perm("generation.view_image")
    assert not staff.has_module_perms("generation")


@pytest.mark.parametrize("left", [{"is_active": "on"}, {"is_staff": "on"}, {}])
def test_the_last_operator_stays_one(olga: User, alice: User, login: Login, left: dict[str, str]) -> None:
    User.objects.create_user("gone@example.org", PASSWORD, is_staff=True, is_active=False)
    url, form = reverse("admin:accounts_user_change", args=[olga.pk]), {"email": olga.email, "name": "Olga"}
    answer = login(olga).post(url, form | left)
    assert answer.status_code == 200
    assert LAST_OPERATOR in answer.content.decode().replace("&#x27;", "'")
    olga.refresh_from_db()
    assert olga.is_staff and olga.is_active
    olga.is_staff = False
    with pytest.raises(NotAllowedError):
        user_save(user=olga, by=olga, created=False, password_set=False)
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert login(olga).post(url, form | left).status_code == 302


def test_nobody_is_left_without_a_password(olga: User, login: Login) -> None:
    client, url = login(olga), reverse("admin:auth_user_password_change", args=[olga.pk])
    assert b"usable_password" not in client.get(url).content
    answer = client.post(url, {"password1": "", "password2": "", "usable_password": "false", "unset-password": "1"})
    assert answer.status_code == 200, "the form comes back"
    olga.refresh_from_db()
    assert olga.check_password(PASSWORD)


def test_no_operator_makes_a_superuser(olga: User, staff: User, login: Login) -> None:
    page = login(olga).get(reverse("admin:accounts_user_change", args=[staff.pk])).content.decode()
    assert 'name="is_superuser"' not in page
    assert "Operator" in page


def test_saving_a_watched_row_writes_nothing(olga: User, login: Login, private: GenerationRequest) -> None:
    url = reverse("admin:generation_generationrequest_change", args=[private.pk])
    saves: list[object] = []
    original = GenerationRequest.save
    try:
        GenerationRequest.save = lambda self, *args, **kwargs: saves.append(self)  # type: ignore[method-assign]
        assert login(olga).post(url, {"state": "failed", "prompt": "x"}).status_code == 302
    finally:
        GenerationRequest.save = original  # type: ignore[method-assign]
    assert saves == []


def test_a_broken_folder_is_a_message(olga: User, login: Login) -> None:
    broken = pictures.checkpoint(enabled=False, path=f"/nowhere/{uuid.uuid4()}")
    url = reverse("admin:generation_checkpoint_changelist")
    answer = login(olga).post(url, {"action": "enable_selected", "_selected_action": str(broken.pk)}, follow=True)
    assert answer.status_code == 200
    assert "stays as it is" in answer.content.decode()
    assert not Checkpoint.objects.get().enabled


def test_another_reason_is_another_line(olga: User, login: Login, private: GenerationRequest) -> None:
    client, image = login(olga), Image.objects.get()
    look = reverse("admin:generation_image_look", args=[image.pk])
    for reason in ("ticket 1", "ticket 2", "ticket 2"):
        client.post(look, {"reason": reason})
    client.get(reverse("admin:generation_image_look_picture", args=[image.pk, image.pk]))
    lines = AuditEvent.objects.filter(verb="looked at").order_by("created_at").values_list("detail", flat=True)
    assert list(lines) == ["ticket 1", "ticket 2"]
