"""What `manage.py generate` was asked for, checked before a room opens. Needs no database for starters and folders."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.inspection import CheckpointFacts, inspect_checkpoint, require_drawable
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.models import Checkpoint
from generation.services.checkpoints import STARTER_LIST, STARTERS

WRONG_WISH = 2  # exit code, as argparse's own
SEED_LIMIT = 2**31
NUMBERS = ("steps", "guidance", "temperature", "strength")


@dataclass(frozen=True, slots=True)
class CommandWish:
    """One call of the command, ready to be drawn."""

    spec: CheckpointSpec
    facts: CheckpointFacts
    params: GenerationParams
    output: Path

    def file(self, index: int) -> Path:
        """cat.png for one picture, cat-1.png, cat-2.png ... for several."""
        if self.params.count == 1:
            return self.output
        return self.output.with_name(f"{self.output.stem}-{index + 1}{self.output.suffix}")

    def recipe(self, seed: int) -> dict[str, Any]:
        """Everything needed to draw this one picture again, the checkpoint's own defaults written out."""
        params = self.params
        recipe: dict[str, Any] = {
            "software": "Tessera",
            "checkpoint": self.spec.name,
            "family": self.spec.family,
            "capability": params.capability,
            "prompt": params.prompt,
            "negative_prompt": params.negative_prompt,
            "seed": seed,
            "width": params.width,
            "height": params.height,
        }
        for name in NUMBERS:
            given = getattr(params, name)
            value = self.facts.defaults.get(name) if given is None else given
            if value is not None:
                recipe[name] = value
        return recipe


def read_wish(options: dict[str, Any]) -> CommandWish:
    """From the command's options. Raises CommandError with a sentence."""
    try:
        spec, facts = find_checkpoint(options["checkpoint"])
        params = _params(options, facts)
        require_drawable(facts, params)
    except (CheckpointError, InvalidParamsError) as error:
        raise CommandError(f"{error.message} {error.hint}".strip(), returncode=WRONG_WISH) from error
    output = Path(options["output"])
    if output.is_dir() or not output.resolve().parent.is_dir():
        raise CommandError(f"{output} cannot be written: give a file in a folder that exists.", returncode=WRONG_WISH)
    return CommandWish(spec, facts, params, output)


def find_checkpoint(name: str) -> tuple[CheckpointSpec, CheckpointFacts]:
    """A starter, a registered checkpoint or a folder, by its name. Raises CommandError, CheckpointError."""
    folders = {starter.name: STARTERS / starter.folder for starter in STARTER_LIST}
    folder = folders.get(name) or _registered(name) or Path(name)
    if name not in folders and not folder.is_dir() and Path(name).name == name:
        known = ", ".join(folders)
        raise CommandError(
            f"There is no checkpoint '{name}'. Use {known}, a registered name or a folder.", returncode=WRONG_WISH
        )
    folder = folder.resolve()
    facts = inspect_checkpoint(folder)
    return CheckpointSpec(name if Path(name).name == name else folder.name, str(folder), facts.family), facts


def _registered(name: str) -> Path | None:
    try:
        found = Checkpoint.objects.filter(name=name).first()
    except DatabaseError:  # not migrated yet, or no database at all
        return None
    if found is not None and not found.enabled:
        reason = found.disabled_reason or "an operator switched it off"
        raise CommandError(f"The checkpoint '{name}' is switched off: {reason}", returncode=WRONG_WISH)
    return Path(found.path) if found is not None else None


def _params(options: dict[str, Any], facts: CheckpointFacts) -> GenerationParams:
    width, height = _size(options["width"], options["height"], facts)
    seed = options["seed"]
    source = _source(options["image"])
    if not options["prompt"].strip():
        raise InvalidParamsError("The prompt is empty.", hint="Say what shall be drawn.")
    return GenerationParams(
        prompt=options["prompt"],
        width=width,
        height=height,
        seed=secrets.randbelow(SEED_LIMIT) if seed is None else seed,
        count=options["count"],
        negative_prompt=options["negative"],
        capability="text_to_image" if source is None else "image_to_image",
        source=source,
        **{name: options[name] for name in NUMBERS},
    )


def _size(width: int | None, height: int | None, facts: CheckpointFacts) -> tuple[int, int]:
    """What was left out is taken from the first size that fits."""
    for wide, high in facts.sizes:
        if width in (None, wide) and height in (None, high):
            return wide, high
    first = facts.sizes[0]
    return width or first[0], height or first[1]


def _source(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=WRONG_WISH) from error
