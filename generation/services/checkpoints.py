"""Checkpoints: registered from a folder, switched off when they turn out unusable, timed as they are used."""

import logging
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.utils.text import slugify

import generation
from core.errors import TesseraError
from generation.engines.errors import CheckpointError, FilesUnavailableError
from generation.engines.inspection import inspect_checkpoint
from generation.models import Checkpoint

logger = logging.getLogger(__name__)

STARTERS = Path(generation.__file__).parent / "starter"
LEARNING_RATE = 0.3


class CheckpointRefusedError(TesseraError):
    """The folder cannot be used as a checkpoint."""

    code = "checkpoint_unusable"


@dataclass(frozen=True, slots=True)
class Starter:
    """One of the checkpoints that come with the portal."""

    name: str
    folder: str
    title: str
    description: str


STARTER_LIST = (
    Starter("starter-diffusion", "diffusion", "Starter Diffusion", "Quick and literal. Sharpens the whole picture."),
    Starter(
        "starter-multimodal",
        "multimodal",
        "Starter Multimodal",
        "Slower; understands where things are. Draws piece by piece.",
    ),
)


@transaction.atomic
def checkpoint_register(
    *,
    path: str | Path,
    name: str | None = None,
    title: str | None = None,
    description: str = "",
    is_starter: bool = False,
) -> Checkpoint:
    """Add the checkpoint in a folder, or read it anew under the same name. Raises CheckpointRefusedError."""
    folder = Path(path).expanduser().resolve()
    key = slugify(name or folder.name)[:80]
    if not key:
        raise CheckpointRefusedError("The checkpoint needs a name.", hint="Use letters, digits and dashes.")
    try:
        facts = inspect_checkpoint(folder)
    except (CheckpointError, FilesUnavailableError) as error:
        raise CheckpointRefusedError(error.message, hint=error.hint) from error
    values = {
        "family": facts.family,
        "path": str(folder),
        "capabilities": list(facts.capabilities),
        "sizes": [list(size) for size in facts.sizes],
        "defaults": dict(facts.defaults),
        "size_bytes": facts.size_bytes,
        "enabled": True,
        "disabled_reason": "",
        "is_starter": is_starter,
    }
    if title or not Checkpoint.objects.filter(name=key).exists():
        values |= {"title": (title or key)[:120], "description": description[:300]}
    return Checkpoint.objects.update_or_create(name=key, defaults=values)[0]


def starters_register() -> list[Checkpoint]:
    """Register the starters that are there; follow them when the checkout moved. Changes nothing the second time."""
    registered = []
    for starter in STARTER_LIST:
        try:
            registered.append(_starter_register(starter))
        except CheckpointRefusedError as error:
            logger.warning("%s cannot be used: %s", starter.title, error)
    return registered


def checkpoint_rename(*, checkpoint: Checkpoint, title: str, description: str) -> None:
    """What people read in the studio."""
    Checkpoint.objects.filter(pk=checkpoint.pk).update(title=title, description=description)


def checkpoint_disable(*, checkpoint: Checkpoint, reason: str) -> None:
    """Switch it off for everybody, with the reason; what waits for it fails with this reason, others go on."""
    Checkpoint.objects.filter(pk=checkpoint.pk).update(enabled=False, disabled_reason=reason[:300])
    logger.warning("Checkpoint %s is switched off: %s", checkpoint.name, reason)


def checkpoint_enable(*, checkpoint: Checkpoint) -> Checkpoint:
    """Switch it on again, if its folder can be used. Raises CheckpointRefusedError."""
    return checkpoint_register(path=checkpoint.path, name=checkpoint.name, is_starter=checkpoint.is_starter)


def checkpoint_that_describes() -> Checkpoint | None:
    """The one that is asked what a picture shows; one of this house before the starter. None when nothing can."""
    found = Checkpoint.objects.filter(enabled=True).order_by("is_starter", "name")
    return next((one for one in found if "describe" in one.capabilities), None)


def checkpoint_learn(*, checkpoint: Checkpoint, seconds: float) -> None:
    """Remember how long one picture takes: a moving average, so that the page can tell."""
    known = Checkpoint.objects.values_list("seconds_per_picture", flat=True).get(pk=checkpoint.pk)
    learnt = seconds if known is None else known + LEARNING_RATE * (seconds - known)
    Checkpoint.objects.filter(pk=checkpoint.pk).update(seconds_per_picture=learnt)


def _starter_register(starter: Starter) -> Checkpoint:
    folder = (STARTERS / starter.folder).resolve()
    known = Checkpoint.objects.filter(name=starter.name).first()
    if known is not None and not known.enabled and known.path == str(folder):
        return known  # somebody, or a failed load, switched it off: that stays
    # What people read may have been changed here, so it is written the first time only.
    title = starter.title if known is None else None
    return checkpoint_register(
        path=folder, name=starter.name, title=title, description=starter.description, is_starter=True
    )
