"""Checkpoints: registered from a folder, switched off when they turn out unusable, timed as they are used."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils.text import slugify

import generation
from accounts.models import User
from accounts.services import audit_record
from core.errors import TesseraError
from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.errors import CheckpointError, FilesUnavailableError
from generation.engines.fingerprint import CHANGED, Fingerprint, Sums, Tell
from generation.engines.footprint import Footprint, predict
from generation.engines.inspection import inspect_checkpoint
from generation.engines.licence import licence_of
from generation.engines.params import CheckpointSpec
from generation.models import Checkpoint
from generation.models.checkpoint import Precision
from generation.services.bell import ring

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


@dataclass(frozen=True, slots=True)
class Examined:
    """What the files of a checkpoint say, before any of it is run."""

    name: str
    path: Path
    facts: CheckpointFacts
    licence: str

    def footprint(self) -> Footprint:
        """What its headers let expect of memory. Raises CheckpointRefusedError."""
        with _refusing():
            return predict(self.path, self.facts)

    def spec(self, *, fingerprint: Fingerprint, precision: str) -> CheckpointSpec:
        """As the engine room will know it."""
        found = fingerprint
        return CheckpointSpec(
            self.name, str(self.path), self.facts.family, precision, sha256=found.sha256, manifest=found.manifest
        )


def checkpoint_examine(*, path: str | Path, name: str | None = None) -> Examined:
    """Look at a folder or file without running anything. Raises CheckpointRefusedError with the reason."""
    place = Path(path).expanduser().resolve()
    key = slugify(name or (place.stem if place.is_file() else place.name))[:80]
    if not key:
        raise CheckpointRefusedError("The checkpoint needs a name.", hint="Use letters, digits and dashes.")
    with _refusing():
        return Examined(key, place, inspect_checkpoint(place), licence_of(place))


def checkpoint_fingerprint(*, path: Path, tell: Tell = lambda done, total: None) -> Fingerprint:
    """The sums of its files, which takes as long as reading them. Raises CheckpointRefusedError."""
    with _refusing():
        return Sums().of(path, tell)


@transaction.atomic
def checkpoint_register(
    *,
    path: str | Path,
    name: str | None = None,
    title: str | None = None,
    description: str = "",
    precision: str | None = None,
    is_starter: bool = False,
    fingerprint: Fingerprint | None = None,
) -> Checkpoint:
    """Add a checkpoint, or read it anew under the same name. Raises CheckpointRefusedError.

    Its files are summed up here unless `fingerprint` was taken already. None leaves a title or precision as it is.
    """
    found = checkpoint_examine(path=path, name=name)
    fingerprint = fingerprint or checkpoint_fingerprint(path=found.path)
    values = _facts_values(found) | {
        "sha256": fingerprint.sha256,
        "manifest": fingerprint.manifest,
        "enabled": True,
        "disabled_reason": "",
        "is_starter": is_starter,
    }
    known = Checkpoint.objects.filter(name=found.name).first()
    values["footprint"] = _footprint_values(found, known, fingerprint)
    if title or known is None:
        values |= {"title": (title or found.name)[:120], "description": description[:300]}
    if precision is not None:
        values["precision"] = precision
    return Checkpoint.objects.update_or_create(name=found.name, defaults=values)[0]


def _facts_values(found: Examined) -> dict[str, Any]:
    facts = found.facts
    return {
        "family": facts.family,
        "path": str(found.path),
        "capabilities": list(facts.capabilities),
        "sizes": [list(size) for size in facts.sizes],
        "defaults": dict(facts.defaults),
        "schedulers": list(facts.schedulers),
        "draws_together": facts.together,
        "size_bytes": facts.size_bytes,
        "licence": found.licence,
    }


def _footprint_values(found: Examined, known: Checkpoint | None, fingerprint: Fingerprint) -> dict[str, Any]:
    """What the headers foretell; what was learnt of the very same files is kept."""
    try:
        footprint = found.footprint().to_dict()
    except CheckpointRefusedError as error:
        logger.warning("The memory that %s needs cannot be foretold: %s", found.name, error)
        return {}
    same = known is not None and known.sha256 == fingerprint.sha256
    return {**footprint, "learnt": known.footprint.get("learnt", {})} if known is not None and same else footprint


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (CheckpointError, FilesUnavailableError) as error:
        raise CheckpointRefusedError(error.message, hint=error.hint) from error


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


def checkpoint_types(*, checkpoint: Checkpoint) -> dict[str, dict[str, int]]:
    """Bytes of each part's weights by number type, as its headers say now. Raises CheckpointRefusedError."""
    return checkpoint_examine(path=checkpoint.path, name=checkpoint.name).footprint().parts


def checkpoint_set_precision(*, checkpoint: Checkpoint, precision: str) -> None:
    """The numbers it is drawn with from the next request on."""
    Checkpoint.objects.filter(pk=checkpoint.pk).update(precision=Precision(precision))


def checkpoint_set_keep_warm(*, checkpoint: Checkpoint, keep_warm: bool, user: User) -> None:
    """Whether it is loaded while nobody draws, and stays. The worker follows between two requests."""
    if Checkpoint.objects.filter(pk=checkpoint.pk).exclude(keep_warm=keep_warm).update(keep_warm=keep_warm):
        audit_record(
            actor=user,
            owner=None,
            verb="checkpoint.keep_warm",
            target_kind="checkpoint",
            target_id=checkpoint.pk,
            detail=f"{checkpoint.title}: {'kept warm' if keep_warm else 'let go'}",
        )
        ring()


def checkpoint_disable(*, checkpoint: Checkpoint, reason: str) -> None:
    """Switch it off for everybody, with the reason; what waits for it fails with this reason, others go on."""
    Checkpoint.objects.filter(pk=checkpoint.pk).update(enabled=False, disabled_reason=reason[:300])
    logger.warning("Checkpoint %s is switched off: %s", checkpoint.name, reason)


def checkpoint_enable(*, checkpoint: Checkpoint) -> Checkpoint:
    """Switch it on again, if its folder can be used. Raises CheckpointRefusedError.

    The sums stay: files that changed are accepted by adding the checkpoint again, never by a click.
    """
    found = checkpoint_examine(path=checkpoint.path, name=checkpoint.name)
    values = _facts_values(found) | {"enabled": True, "disabled_reason": ""}
    Checkpoint.objects.filter(pk=checkpoint.pk).update(**values)
    checkpoint.refresh_from_db()
    return checkpoint


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
    updated = known is not None and CHANGED in known.disabled_reason  # with the checkout, while the portal ran
    if known is not None and not known.enabled and known.path == str(folder) and not updated:
        return known  # somebody, or a failed load, switched it off: that stays
    # What people read may have been changed here, so it is written the first time only.
    title = starter.title if known is None else None
    return checkpoint_register(
        path=folder, name=starter.name, title=title, description=starter.description, is_starter=True
    )
