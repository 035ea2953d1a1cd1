"""The first start: an administrator and the welcome pictures that prove the installation."""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

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


def administrator_ensure() -> Administrator:
    """The first operator, made when nobody is there. Never touches an installation that has people."""
    existing = User.objects.filter(is_superuser=True, is_active=True).order_by("created_at").first()
    if existing is not None:
        return Administrator(existing.email)
    email = settings.ADMIN_EMAIL
    try:
        validate_email(email)
    except ValidationError as error:
        raise TesseraError(f"TESSERA_ADMIN_EMAIL is {email!r}, which is no e-mail address.") from error
    made = None if settings.ADMIN_PASSWORD else secrets.token_urlsafe(9)
    administrator_create(email=email, password=made or settings.ADMIN_PASSWORD, one_time=made is not None)
    return Administrator(email, made)


def welcome_submit() -> list[GenerationRequest]:
    """One picture with each starter through the ordinary queue, when nothing was ever asked here."""
    if GenerationRequest.objects.exists():
        return []
    owner = User.objects.filter(is_superuser=True, is_active=True).order_by("created_at").first()
    if owner is None:
        return []
    project = project_personal(user=owner)
    starters = Checkpoint.objects.filter(is_starter=True, enabled=True)
    return [_welcome(owner, project, checkpoint) for checkpoint in starters]


def _welcome(owner: User, project: Project, checkpoint: Checkpoint) -> GenerationRequest:
    width, height = checkpoint.sizes[0]
    wish = {"prompt": WELCOME_PROMPT, "width": width, "height": height, "count": 1, "seed": WELCOME_SEED}
    return request_submit(user=owner, project=project, checkpoint=checkpoint, params=wish)
