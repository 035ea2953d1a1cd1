"""A picture drawn once more: of its codes where they were kept, else by its recipe. Tells whether it is the same."""

import hashlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from io import BytesIO
from typing import cast

from PIL import Image as Picture
from PIL import ImageChops

from generation import storage
from generation.engines.client import Reply, RoomClient
from generation.engines.codes import unpack_codes
from generation.engines.errors import CheckpointError, EngineError, RoomError
from generation.engines.fragments import Kind
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.protocol import EncodedFragment
from generation.models import Checkpoint, Image, ImageCodes
from generation.runner.drawing import params_of
from generation.services.local_files import spec_here

RECORDED = ("steps", "guidance", "temperature", "strength")  # written out in a recipe, whatever the defaults are today


class NotRepeatableError(EngineError):
    """Neither codes nor a request are left of the picture."""

    code = "not_repeatable"


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A picture drawn again. `same_pixels` is None when the kept file is gone or cannot be read."""

    file: bytes
    codes: int
    same_pixels: bool | None
    same_file: bool


def redraw(image: Image, room: RoomClient) -> Redrawn:
    """Raises EngineError with the reason when it cannot be drawn again."""
    codes = _codes(image)
    png = _draw(_spec(image), _params(image, codes), room)
    file = storage.picture_bytes(png, image.recipe)
    same = hashlib.sha256(file).hexdigest() == image.sha256
    return Redrawn(file, len(codes), _same_pixels(image, file), same)


def _codes(image: Image) -> tuple[int, ...]:
    kept = ImageCodes.objects.filter(image=image).first()
    try:
        return () if kept is None else unpack_codes(kept.packed)
    except ValueError as error:
        raise NotRepeatableError("The codes that were kept of this picture are damaged.") from error


def _spec(image: Image) -> CheckpointSpec:
    """In the numbers that drew it: others would give other pixels."""
    checkpoint = Checkpoint.objects.filter(name=image.checkpoint_name).first()
    if checkpoint is None:
        raise CheckpointError(
            f"The checkpoint {image.checkpoint_name} is not here any more.", hint="Add it again under this name."
        )
    spec = spec_here(checkpoint)
    return replace(spec, precision=image.recipe.get("precision") or spec.precision)


def _params(image: Image, codes: tuple[int, ...]) -> GenerationParams:
    if codes:
        return GenerationParams(image.prompt, image.width, image.height, image.seed, codes=codes)
    if image.request is None:
        raise NotRepeatableError("Nobody knows any more how this picture was asked for.")
    recorded = {name: image.recipe[name] for name in RECORDED if image.recipe.get(name) is not None}
    return replace(params_of(image.request), seed=image.seed, count=1, **recorded)


def _draw(spec: CheckpointSpec, params: GenerationParams, room: RoomClient) -> bytes:
    """The final's PNG."""
    with closing(cast("Generator[Reply]", room.generate(spec, params))) as replies:
        for reply in replies:
            if isinstance(reply, EncodedFragment) and reply.kind is Kind.FINAL:
                return reply.data
    raise RoomError("The engine room drew no picture.")


def _same_pixels(image: Image, file: bytes) -> bool | None:
    try:
        with Picture.open(BytesIO(storage.read(image.file))) as kept, Picture.open(BytesIO(file)) as drawn:
            return kept.size == drawn.size and ImageChops.difference(kept.convert("RGB"), drawn).getbbox() is None
    except (OSError, SyntaxError, ValueError):
        return None
