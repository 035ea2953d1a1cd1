"""A factory of pictures for tests: a real PNG with a recipe, written through the real storage, and its row."""

import io
from typing import Any

import numpy as np
from PIL import Image as Picture

from accounts.models import User
from generation import storage
from generation.models import Checkpoint, Image, Project


def png(width: int = 64, height: int = 64, *, seed: int = 0) -> bytes:
    """Coloured noise, another one for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def image(
    *, project: Project, owner: User | None = None, seed: int = 7, width: int = 64, height: int = 64, **fields: Any
) -> Image:
    """A finished picture in `project`. `fields` go to the row (prompt, checkpoint_name, request, trashed_at ...)."""
    values = {"prompt": "a cat left of a pizza on blue", "checkpoint_name": "starter-diffusion", **fields}
    values.setdefault("recipe", {"prompt": values["prompt"], "seed": seed, "steps": 8, "guidance": 3.0})
    stored = storage.write_picture(png(width, height, seed=seed), values["recipe"])
    made = Image.objects.create(
        id=stored.id,
        project=project,
        owner=owner or project.owner,
        seed=seed,
        file=stored.file,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        width=stored.width,
        height=stored.height,
        **values,
    )
    if "created_at" in fields:  # auto_now_add sets the time of making, so another one needs a second write
        Image.objects.filter(pk=made.pk).update(created_at=fields["created_at"])
        made.refresh_from_db()
    return made


def checkpoint(name: str = "starter-diffusion", **fields: Any) -> Checkpoint:
    """A row only; nothing is drawn with it."""
    values: dict[str, Any] = {
        "title": "Starter Diffusion",
        "family": "diffusion",
        "path": "/nowhere",
        "capabilities": ["text_to_image"],
        "sizes": [[64, 64]],
        "defaults": {"steps": 8, "guidance": 3.0},
    }
    return Checkpoint.objects.create(name=name, **values | fields)
