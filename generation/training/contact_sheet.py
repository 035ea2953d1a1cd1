"""The contact sheet of a model card: pictures drawn by lot, each under its prompt. Must not know who drew them."""

from collections.abc import Sequence
from random import Random

from PIL import Image, ImageDraw

from generation.training.world import Scene, World

COLUMNS, LABEL, EDGE = 8, 14, 128
PICTURES = 48


def random_scenes(world: World, count: int = PICTURES) -> list[Scene]:
    """Scenes that training never saw, by lot: as many single objects as pairs."""
    rng = Random(48)  # noqa: S311 - which scenes are shown, no secret
    return [world.sample_held_out(rng, pair=number % 2 == 1) for number in range(count)]


def sheet(pictures: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """All of them in rows of eight."""
    rows = -(-len(pictures) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * (EDGE + 4), rows * (EDGE + LABEL + 4)), "white")
    pen = ImageDraw.Draw(whole)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = number % COLUMNS * (EDGE + 4) + 2, number // COLUMNS * (EDGE + LABEL + 4)
        pen.text((left, top), label[:21], fill="black")
        whole.paste(picture, (left, top + LABEL))
    return whole
