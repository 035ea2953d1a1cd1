"""People: made and changed by operators, one-time passwords, and who is thrown out of an open page when."""

from collections.abc import Callable
from importlib import import_module

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent, User
from accounts.services import administrator_create, audit_record, user_save
from tests.conftest import PASSWORD
from tests.generation.sockets import enter

Login = Callable[[User], Client]
SECRET = "another horse battery"
CLOSE_LOGGED_OUT = 4401


def test_a_person_made_by_an_operator_chooses_an_own_password(olga: User, login: Login) -> None:
    form = {"email": "Dora@Example.org", "name": "Dora", "password1": SECRET, "password2": SECRET}
    assert login(olga).post(reverse("admin:accounts_user_add"), form).status_code == 302
    dora = User.objects.get(email="dora@example.org")
    assert dora.must_change_password
    assert dora.check_password(SECRET)
    line = AuditEvent.objects.get(owner=dora)
    assert (line.actor, line.verb, line.target_kind) == (olga, "created", "person")


def test_a_one_time_password_opens_only_the_page_that_replaces_it(alice: User, login: Login) -> None:
    User.objects.filter(pk=alice.pk).update(must_change_password=True)
    client = login(alice)
    for url in ("/", "/projects/", "/history/", "/accounts/activity/"):
        assert client.get(url).headers.get("Location") == reverse("account_change_password"), url
    assert client.get("/healthz").status_code == 200
    form = {"oldpassword": PASSWORD, "password1": SECRET, "password2": SECRET}
    assert client.post(reverse("account_change_password"), form).status_code == 302
    alice.refresh_from_db()
    assert not alice.must_change_password
    assert client.get("/").status_code == 200


def test_the_one_time_password_is_not_taken_again(alice: User, login: Login) -> None:
    User.objects.filter(pk=alice.pk).update(must_change_password=True)
    client, page = login(alice), reverse("account_change_password")
    answer = client.post(page, {"oldpassword": PASSWORD, "password1": PASSWORD, "password2": PASSWORD})
    assert answer.status_code == 200
    assert "Choose another one." in answer.content.decode()
    alice.refresh_from_db()
    assert alice.must_change_password
    User.objects.filter(pk=alice.pk).update(must_change_password=False)
    answer = client.post(page, {"oldpassword": PASSWORD, "password1": PASSWORD, "password2": PASSWORD})
    assert answer.status_code == 302  # an own password may stay


def test_the_page_says_why_and_then_leads_to_the_studio(alice: User, login: Login) -> None:
    client, page = login(alice), reverse("account_change_password")
    reset = reverse("account_reset_password")
    assert reset in client.get(page).content.decode()
    User.objects.filter(pk=alice.pk).update(must_change_password=True)
    html = client.get(page).content.decode()
    assert "Somebody else made your password" in html
    assert reset not in html  # it leads back here until the password is changed
    answer = client.post(page, {"oldpassword": PASSWORD, "password1": SECRET, "password2": SECRET})
    assert answer.headers["Location"] == reverse("studio")


def test_the_activity_is_told_in_words(alice: User, olga: User, login: Login) -> None:
    for verb, kind in (("member.role", "project"), ("changed", "person"), ("new.verb", "thing")):
        audit_record(actor=olga, owner=alice, verb=verb, target_kind=kind, target_id=1)
    html = login(alice).get(reverse("activity")).content.decode()
    for words in ("Changed a role in a project", "Changed an account", "New verb thing"):
        assert words in html
    assert "member.role" not in html


def test_what_user_save_keeps(alice: User, olga: User) -> None:
    alice.name = "Alicia"
    assert not user_save(user=alice, by=olga, created=False, password_set=False).must_change_password
    assert user_save(user=alice, by=olga, created=False, password_set=True).must_change_password
    assert not user_save(user=olga, by=olga, created=False, password_set=True).must_change_password
    assert User.objects.get(pk=alice.pk).name == "Alicia"
    assert [line.verb for line in AuditEvent.objects.filter(owner=alice)] == ["changed", "changed"]


def test_the_first_administrator(db: None) -> None:
    made = administrator_create(email="Admin@Example.org", password=SECRET, one_time=True)
    assert (made.email, made.is_staff, made.must_change_password) == ("admin@example.org", True, True)
    assert not administrator_create(email="b@example.org", password=SECRET, one_time=False).must_change_password


def test_addresses_that_differ_in_case_are_one(alice: User, bob: User, olga: User, login: Login) -> None:
    form = {"email": "ALICE@example.org", "name": "", "password1": SECRET, "password2": SECRET}
    answer = login(olga).post(reverse("admin:accounts_user_add"), form)
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors == {"email": ["Somebody here has this address already."]}
    change = reverse("admin:accounts_user_change", args=[bob.pk])
    answer = login(olga).post(change, {"email": "Alice@Example.org", "name": "Bob", "is_active": "on"})
    assert answer.context["adminform"].form.errors == {"email": ["Somebody here has this address already."]}
    assert login(olga).post(change, {"email": "Bobby@Example.org", "is_active": "on"}).status_code == 302
    assert User.objects.get(pk=bob.pk).email == "bobby@example.org"
    with pytest.raises(ValidationError, match="Somebody here has this address"):
        User(email="ALICE@example.org").validate_constraints()
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=bob.pk).update(email="Alice@example.org")


def test_addresses_of_before_become_small(alice: User) -> None:
    move = import_module("accounts.migrations.0003_small_addresses").addresses_to_lower
    User.objects.update(email="Alice@Example.org")
    move(apps, None)
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"


@pytest.mark.django_db(transaction=True)
async def test_deactivation_closes_an_open_page(alice: User, olga: User, login: Login) -> None:
    page = await enter(alice)
    client = await sync_to_async(login)(olga)
    change = reverse("admin:accounts_user_change", args=[alice.pk])
    answer = await sync_to_async(client.post)(change, {"email": alice.email, "name": "Alice"})
    assert answer.status_code == 302
    assert await page.hear_close() == CLOSE_LOGGED_OUT


@pytest.mark.django_db(transaction=True)
async def test_a_password_set_in_the_admin_closes_an_open_page(alice: User, olga: User, login: Login) -> None:
    page = await enter(alice)
    client = await sync_to_async(login)(olga)
    url = reverse("admin:auth_user_password_change", args=[alice.pk])
    form = {"password1": SECRET, "password2": SECRET, "usable_password": "true"}
    answer = await sync_to_async(client.post)(url, form)
    assert answer.status_code == 302
    assert await page.hear_close() == CLOSE_LOGGED_OUT
    await sync_to_async(alice.refresh_from_db)()
    assert alice.must_change_password
    assert alice.check_password(SECRET)
