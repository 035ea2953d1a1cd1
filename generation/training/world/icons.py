"""The icons: Microsoft's Fluent Emoji (MIT), fetched by package name and rendered once into a cache.

The icons are not in the repository; only the starters' tiles are. Must not be imported by anything that serves.
"""

import io
import json
import logging
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from generation.engines.mosaic import Pixels
from generation.training.world.nouns import Noun
from generation.training.world.scene import TILE, TILES, Size

PACKAGE = "@iconify-json/fluent-emoji@1.2.7"
BARELY_SEEN = 8  # alpha below this is antialiasing dust: dropping it saves tiles that nobody can see
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="0 0 32 32" width="{side}" height="{side}">{body}</svg>'
)
_log = logging.getLogger(__name__)


def training_dir() -> Path:
    """Where training keeps its data and checkpoints; never inside version control."""
    return Path(os.environ.get("TESSERA_TRAINING_DIR", "data/training"))


def icon_bodies(cache: Path) -> Mapping[str, str]:
    """Name to SVG body, from the package; fetched into the cache when it is not there."""
    archive = next(iter(sorted(cache.glob("iconify-json-fluent-emoji-*.tgz"))), None) or _fetch(cache)
    with tarfile.open(archive) as package:
        member = package.extractfile("package/icons.json")
        if member is None:
            raise FileNotFoundError(f"{archive} holds no icons.json: delete it and try again.")
        icons: dict[str, Any] = json.load(member)["icons"]
    return {name: icon["body"] for name, icon in icons.items()}


def _fetch(cache: Path) -> Path:
    _log.info("fetching %s", PACKAGE)
    cache.mkdir(parents=True, exist_ok=True)
    npm = ["npm", "pack", "--silent", PACKAGE]
    done = subprocess.run(npm, cwd=cache, check=True, capture_output=True, text=True)  # noqa: S603 - fixed words
    return cache / done.stdout.strip().splitlines()[-1]


def render(body: str, side: int) -> Pixels:
    """One icon as RGBA, `side` pixels square, with clean transparent parts."""
    import resvg_py  # here, so that a world from the cache needs no renderer

    png = bytes(resvg_py.svg_to_bytes(svg_string=SVG.format(side=side, body=body), width=side, height=side))
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGBA"), dtype=np.uint8)
    pixels[pixels[..., 3] < BARELY_SEEN] = 0  # equal tiles must have equal bytes
    return pixels


def render_all(nouns: Sequence[Noun], bodies: Mapping[str, str]) -> dict[Size, Pixels]:
    """Every noun in every size: uint8 [nouns, side, side, 4]."""
    return {
        size: np.stack([render(bodies[noun.icon], tiles * TILE) for noun in nouns]) for size, tiles in TILES.items()
    }
