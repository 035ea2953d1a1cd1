"""The first start: an administrator and the welcome pictures that prove the installation."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from accounts.models import User
from accounts.services import administrator_create
from core.errors import TesseraError
from generation.models import Checkpoint, GenerationRequest, Project
from generation.services.projects import project_personal
from generation.services.requests import request_submit

WELCOME_PROMPT = "a cat left of a pizza on blue"
WELCOME_SEED = 7


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who to log in as; `password` only when it was made just now."""

    email: str
    password: str | None = None


@transaction.atomic
def administrator_ensure(*, tell: Callable[[Administrator], None]) -> Administrator | None:
    """The first operator, made when nobody at all is there; None when there are people, but no active operator.

    `tell` shows a password that was made, before the commit: whatever is killed when, no password is kept unseen.
    """
    existing = _operator()
    if existing is not None:
        return Administrator(existing.email)
    if User.objects.exists():
        return None
    email, given = settings.ADMIN_EMAIL, settings.ADMIN_PASSWORD
    _check(email, given)
    made = None if given else secrets.token_urlsafe(9)
    user = administrator_create(email=email, password=made or given, one_time=made is not None)
    administrator = Administrator(user.email, made)
    if made:
        tell(administrator)
    return administrator


@transaction.atomic
def welcome_submit() -> list[GenerationRequest]:
    """One picture with each starter through the ordinary queue, when nothing was ever asked here. Raises TesseraError.

    All of them or none, and not more than one person may have in the queue.
    """
    owner = _operator()
    if owner is None or GenerationRequest.objects.exists():
        return []
    project = project_personal(user=owner)
    starters = Checkpoint.objects.filter(is_starter=True, enabled=True)[: settings.MAX_QUEUED or None]
    return [_welcome(owner, project, checkpoint) for checkpoint in starters]


def _operator() -> User | None:
    return User.objects.filter(is_staff=True, is_active=True).order_by("created_at").first()


def _check(email: str, password: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise TesseraError(f"TESSERA_ADMIN_EMAIL is {email!r}, which is no e-mail address.") from error
    try:
        if password:
            validate_password(password, User(email=email))
    except ValidationError as error:
        raise TesseraError(f"TESSERA_ADMIN_PASSWORD cannot be used. {' '.join(error.messages)}") from error


def _welcome(owner: User, project: Project, checkpoint: Checkpoint) -> GenerationRequest:
    width, height = checkpoint.sizes[0]
    wish = {"prompt": WELCOME_PROMPT, "width": width, "height": height, "count": 1, "seed": WELCOME_SEED}
    return request_submit(user=owner, project=project, checkpoint=checkpoint, params=wish)
