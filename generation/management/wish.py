"""What `manage.py generate` was asked for, checked before a room opens. Needs no database for starters and folders."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.errors import EngineError, InvalidParamsError
from generation.engines.inspection import inspect_checkpoint, require_drawable
from generation.engines.params import (
    LIMITS,
    MIN_EDGE,
    SEED_LIMIT,
    Capability,
    CheckpointSpec,
    GenerationParams,
    used_by,
    with_a_picture,
)
from generation.engines.protocol import EncodedFragment
from generation.engines.recipe import drawn_with, recipe_for
from generation.management.wish_loras import read_loras
from generation.models import Checkpoint
from generation.services.checkpoints import STARTER_LIST, STARTERS

WRONG_WISH = 2  # exit code, as argparse's own
MEGABYTE = 1024 * 1024
SUFFIX = ".png"
PICTURE = "picture.png"
DEFAULTS = {False: "starter-diffusion", True: "starter-multimodal"}  # checkpoints, by whether a picture is described
# options that not every family uses, by the field they fill
FLAGS = {
    "negative_prompt": "negative",
    "steps": "steps",
    "guidance": "guidance",
    "temperature": "temperature",
    "strength": "strength",
    "scheduler": "scheduler",
}
# options that a description has no use for
DRAWING = (*FLAGS.values(), "lora", "mask", "seed", "width", "height", "output", "fragments")


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

    def recipe(self, final: EncodedFragment) -> dict[str, Any]:
        """Everything needed to draw this one picture again, the checkpoint's own defaults written out."""
        recipe = recipe_for(
            checkpoint=self.spec.name,
            family=self.spec.family,
            defaults=self.facts.defaults,
            wish=self.params.to_header(),
            seed=final.seed,
        )
        return {**recipe, **drawn_with(final.precision, final.memory)}


def read_wish(options: dict[str, Any]) -> CommandWish:
    """From the command's options. Raises CommandError with a sentence."""
    try:
        spec, facts = find_checkpoint(options["checkpoint"] or DEFAULTS[options["describe"]])
        _refuse_unused(options, spec, facts)
        params = _params(options, facts)
        require_drawable(facts, params)
    except EngineError as error:
        raise CommandError(f"{error.message} {error.hint}".strip(), returncode=WRONG_WISH) from error
    wish = CommandWish(spec, facts, params, Path(PICTURE if options["output"] is None else options["output"]))
    if params.capability == "describe":
        return wish  # nothing is written
    _check_output(wish.output)
    for index in range(params.count):
        _check_output(wish.file(index))
    return wish


def find_checkpoint(name: str) -> tuple[CheckpointSpec, CheckpointFacts]:
    """A starter, a registered checkpoint, a folder or a file, by its name. Raises CommandError, EngineError."""
    folders = {starter.name: STARTERS / starter.folder for starter in STARTER_LIST}
    if name not in folders and (registered := _registered(name)):
        return registered.spec(), inspect_checkpoint(registered.path)
    folder = folders.get(name) or Path(name)
    if name not in folders and not folder.exists() and Path(name).name == name:
        known = ", ".join(folders)
        raise CommandError(
            f"There is no checkpoint '{name}'. Use {known}, a registered name, a folder, a file.",
            returncode=WRONG_WISH,
        )
    folder = folder.resolve()
    facts = inspect_checkpoint(folder)
    return CheckpointSpec(name if Path(name).name == name else folder.name, str(folder), facts.family), facts


def _registered(name: str) -> Checkpoint | None:
    try:
        found = Checkpoint.objects.filter(name=name).first()
    except DatabaseError:  # not migrated yet, or no database at all
        return None
    if found is not None and not found.enabled:
        reason = found.disabled_reason or "an operator switched it off"
        raise CommandError(f"The checkpoint '{name}' is switched off: {reason}", returncode=WRONG_WISH)
    return found


def _refuse_unused(options: dict[str, Any], spec: CheckpointSpec, facts: CheckpointFacts) -> None:
    """An option that changes nothing would be a lie in the recipe."""
    if options["describe"]:
        return _refuse_drawing(options)
    used = used_by(spec.family, facts.defaults)
    for name, flag in FLAGS.items():
        if options[flag] not in (None, "") and name not in used:
            known = ", ".join(f"--{FLAGS[name]}" for name in used if name in FLAGS)
            raise InvalidParamsError(f"{spec.name} does not use --{flag}.", hint=f"It uses {known}.")
    if options["strength"] is not None and options["image"] is None:
        raise InvalidParamsError("--strength needs a picture to begin from.", hint="Give it with --image.")
    if options["mask"] is not None and options["image"] is None:
        raise InvalidParamsError("--mask needs a picture to repaint a part of.", hint="Give it with --image.")


def _refuse_drawing(options: dict[str, Any]) -> None:
    for name in DRAWING:
        if options[name] not in (None, "", []):
            raise InvalidParamsError(f"A description does not use --{name}.", hint="Leave it out.")


def _check_output(file: Path) -> None:
    """A device, a socket or a folder must never be replaced by a picture."""
    target = _resolved(file)
    if target is None or not target.parent.is_dir() or target.is_dir():
        problem = "give a file in a folder that exists"
    elif target.exists() and not target.is_file():
        problem = "it is no ordinary file"
    elif file.suffix.lower() != SUFFIX:
        problem = f"pictures are PNG, so the name must end in {SUFFIX}"
    else:
        return
    raise CommandError(f"{file} cannot be written: {problem}.", returncode=WRONG_WISH)


def _resolved(file: Path) -> Path | None:
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, or no name at all
        return None


def _params(options: dict[str, Any], facts: CheckpointFacts) -> GenerationParams:
    width, height = _size(options["width"], options["height"], facts)
    seed = options["seed"]
    source = _source(options["image"])
    mask = _source(options["mask"])
    capability = _capability(facts, options, has_picture=source is not None)
    if not options["prompt"].strip() and capability != "describe":
        raise InvalidParamsError("The prompt is empty.", hint="Say what shall be drawn.")
    return GenerationParams(
        prompt=options["prompt"],
        width=width,
        height=height,
        seed=secrets.randbelow(SEED_LIMIT) if seed is None else seed,
        count=options["count"],
        negative_prompt=options["negative"],
        capability=capability,
        source=source,
        mask=mask,
        loras=read_loras(options["lora"]),
        scheduler=options["scheduler"],
        **{name: options[name] for name in FLAGS if name in LIMITS},
    )


def _capability(facts: CheckpointFacts, options: dict[str, Any], *, has_picture: bool) -> Capability:
    if options["describe"]:
        return "describe"
    if options["mask"] is not None:
        return "inpaint"
    return with_a_picture(facts.capabilities) if has_picture else "text_to_image"


def _size(width: int | None, height: int | None, facts: CheckpointFacts) -> tuple[int, int]:
    """What was left out is taken from the first size that fits."""
    for wide, high in facts.sizes:
        if width in (None, wide) and height in (None, high):
            return wide, high
    first = next(iter(facts.sizes), (MIN_EDGE, MIN_EDGE))  # one that only describes draws no size
    return width or first[0], height or first[1]


def _source(file: str | None) -> bytes | None:
    if file is None:
        return None
    path = Path(file)
    try:
        if not path.is_file():  # before it is opened: a pipe would wait for ever
            problem = "it is no ordinary file" if path.exists() else "there is no such file"
        elif (size := path.stat().st_size) > settings.UPLOAD_MAX_BYTES:
            most = settings.UPLOAD_MAX_BYTES // MEGABYTE
            problem = f"it has {size / MEGABYTE:.0f} MB and {most} MB is the most"
        else:
            return path.read_bytes()
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    raise CommandError(f"{file} cannot be read: {problem}.", returncode=WRONG_WISH)
