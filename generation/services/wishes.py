"""A wish is what somebody asks for before it is a request. Checked here, once, for every door.

Each refusal is a TesseraError with a code, a sentence and what to do next.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.models import User
from core.errors import NotAllowedError, TesseraError
from generation import permissions, storage
from generation.engines.errors import InvalidParamsError
from generation.engines.params import (
    ABLE_TO,
    MAX_EDGE,
    MIN_EDGE,
    NEEDS_SOURCE,
    QUESTION,
    SEED_LIMIT,
    Capability,
    GenerationParams,
    with_a_picture,
)
from generation.models import Checkpoint, Image, Project, Upload
from generation.services.admission import admission_check, presence_check

WHOLE = ("width", "height", "count", "seed", "steps")
BROKEN = ("guidance", "temperature", "strength")


class WishRefusedError(TesseraError):
    """The wish cannot be taken as it is."""

    code = "invalid_params"


@dataclass(frozen=True, slots=True)
class Wish:
    """A checked wish."""

    checkpoint: Checkpoint
    capability: Capability
    prompt: str
    params: dict[str, Any]
    source_image: Image | None
    source_upload: Upload | None


def wish_check(
    *,
    user: User,
    project: Project,
    checkpoint: Checkpoint | str | None,
    params: Mapping[str, Any],
    source_image: Image | None = None,
    source_upload: Upload | None = None,
    describe: bool = False,
) -> Wish:
    """The wish, complete and drawable. Raises TesseraError with the reason otherwise."""
    _check_person(user, project)
    if describe and checkpoint is None:
        raise WishRefusedError(
            "No checkpoint that is switched on can describe pictures.",
            hint="An operator can add one.",
            code="capability_missing",
        )
    found = _checkpoint(checkpoint)
    prompt = _text(params, "prompt") or (QUESTION if describe else "")
    if not prompt:
        raise WishRefusedError("The prompt is empty.", hint="Describe the picture you want.", code="prompt_empty")
    image, upload = _source(user, source_image, source_upload, needed=describe)
    capability = _able(found, _capability(found, describe=describe, has_source=bool(image or upload)))
    numbers = _numbers(_without_drawing(found) if describe else params)
    _check_numbers(capability, prompt, numbers)
    _check_size(found, numbers["width"], numbers["height"])
    presence_check(checkpoint=found)
    admission_check(checkpoint=found, capability=capability, width=numbers["width"], height=numbers["height"])
    values = {**numbers, "negative_prompt": _text(params, "negative_prompt"), **_scheduler(found, params)}
    return Wish(found, capability, prompt, values, image, upload)


def _check_person(user: User, project: Project) -> None:
    if not User.objects.filter(pk=user.pk, is_active=True).exists():
        raise NotAllowedError("This account is not active.", hint="Ask an operator.", code="owner_inactive")
    if not permissions.can_draw_in(user, project):
        raise NotAllowedError(
            f"You may not draw in the project “{project}”.",
            hint="Choose a project of yours, or ask its manager to make you an editor.",
            code="project_forbidden",
        )


def _checkpoint(wanted: Checkpoint | str | None) -> Checkpoint:
    by = {"pk": wanted.pk} if isinstance(wanted, Checkpoint) else {"name": str(wanted or "")[:80]}
    found = Checkpoint.objects.filter(**by).first()
    if found is None:
        raise WishRefusedError(
            "This checkpoint does not exist.", hint="Choose one from the list.", code="checkpoint_unknown"
        )
    if not found.enabled:
        why = f" {found.disabled_reason}" if found.disabled_reason else ""
        raise WishRefusedError(
            f"The checkpoint “{found}” is switched off.{why}", hint="Choose another one.", code="checkpoint_disabled"
        )
    return found


def _source(
    user: User, image: Image | None, upload: Upload | None, *, needed: bool
) -> tuple[Image | None, Upload | None]:
    """The one picture that is accepted to start from: of a gallery that the person may see, or handed in by them."""
    if image is None and upload is None and not needed:
        return None, None
    image = image and Image.objects.readable_by(user).filter(pk=image.pk).first()
    upload = None if image is not None or upload is None or upload.owner_id != user.pk else upload
    source = image or upload
    if source is None or not storage.exists(source.file):
        raise WishRefusedError(
            "The picture to start from is not there any more.",
            hint="Hand in a picture or take one from a gallery.",
            code="source_missing",
        )
    return image, upload


def _capability(checkpoint: Checkpoint, *, describe: bool, has_source: bool) -> Capability:
    if describe:
        return "describe"
    return with_a_picture(checkpoint.capabilities) if has_source else "text_to_image"


def _without_drawing(checkpoint: Checkpoint) -> dict[str, Any]:
    """Numbers of a wish that draws nothing: the seed means nothing, and the size is only a place on the page."""
    width, height = next(iter(checkpoint.sizes), (MIN_EDGE, MIN_EDGE))
    return {"width": width, "height": height, "count": 1, "seed": 0}


def _able(checkpoint: Checkpoint, capability: Capability) -> Capability:
    if capability not in checkpoint.capabilities:
        raise WishRefusedError(
            f"The checkpoint “{checkpoint}” cannot {ABLE_TO[capability]}.",
            hint="Choose another one.",
            code="capability_missing",
        )
    return capability


def _text(params: Mapping[str, Any], name: str) -> str:
    # NUL has no place in a database's text, and a lone surrogate cannot be written at all.
    text = str(params.get(name) or "").replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
    if len(text) > settings.PROMPT_MAX_LENGTH:
        raise WishRefusedError(
            f"The {name.replace('_', ' ')} has {len(text):,} characters; {settings.PROMPT_MAX_LENGTH:,} is the most.",
            hint="Shorten it.",
            code="prompt_too_long",
        )
    return text


def _scheduler(checkpoint: Checkpoint, params: Mapping[str, Any]) -> dict[str, str]:
    """The one that was chosen; nothing for the checkpoint's own."""
    name = str(params.get("scheduler") or "")[:40]
    if not name:
        return {}
    if name not in checkpoint.schedulers:
        known = ", ".join(checkpoint.schedulers)
        raise WishRefusedError(
            f"The checkpoint “{checkpoint}” cannot draw with the scheduler {name!r}.",
            hint=f"It can use {known}." if known else "Leave it out: this one has none to choose from.",
            code="scheduler_unknown",
        )
    return {"scheduler": name}


def _numbers(params: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {name: _number(name, params.get(name), whole=True) for name in WHOLE}
    values |= {name: _number(name, params.get(name), whole=False) for name in BROKEN}
    for name in ("width", "height"):
        if values[name] is None:
            raise WishRefusedError(f"The {name} is missing.", hint=f"Use 16 to {MAX_EDGE} pixels.")
    values["count"] = 1 if values["count"] is None else values["count"]
    values["seed"] = secrets.randbelow(SEED_LIMIT) if values["seed"] is None else values["seed"]
    return values


def _number(name: str, value: Any, *, whole: bool) -> int | float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
        if not math.isfinite(number) or (whole and not number.is_integer()):
            raise ValueError
        return int(value) if whole else number
    except (TypeError, ValueError, OverflowError) as error:
        kind = "a whole number" if whole else "a number"
        raise WishRefusedError(f"The {name} is {str(value)[:40]!r}; use {kind}.") from error


def _check_numbers(capability: Capability, prompt: str, numbers: Mapping[str, Any]) -> None:
    source = b"" if capability in NEEDS_SOURCE else None
    try:
        GenerationParams(prompt=prompt, capability=capability, source=source, **numbers)
    except InvalidParamsError as error:
        raise WishRefusedError(error.message, hint=error.hint, code=error.code) from error


def _check_size(checkpoint: Checkpoint, width: int, height: int) -> None:
    if checkpoint.sizes and [width, height] not in [list(size) for size in checkpoint.sizes]:
        raise WishRefusedError(
            f"The checkpoint “{checkpoint}” cannot draw {width}x{height}.",
            hint=f"It draws {', '.join(checkpoint.size_labels())}.",
            code="size_not_drawable",
        )
