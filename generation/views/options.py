"""The checkpoint picker: what each checkpoint can do and how long it takes, in words."""

import json
from dataclasses import dataclass

from generation.engines.params import with_a_picture
from generation.forms import fields_used
from generation.models import Checkpoint

CAPABILITY_WORDS = {  # of what this page offers; a part is repainted by `manage.py generate --mask` only
    "text_to_image": "Draws from words",
    "image_to_image": "Starts from a picture",
    "edit": "Edits by instruction",
    "describe": "Describes pictures",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One card of the picker. `chosen` says whether it is the one."""

    checkpoint: Checkpoint
    chosen: bool

    @property
    def abilities(self) -> list[str]:
        """In words."""
        return [CAPABILITY_WORDS[name] for name in CAPABILITY_WORDS if name in self.checkpoint.capabilities]

    @property
    def uses(self) -> str:
        """The advanced fields that it uses, `source` when it takes a picture, `edit` when the prompt then instructs."""
        able = with_a_picture(self.checkpoint.capabilities)
        source = {"source"} if able in self.checkpoint.capabilities else set()
        return " ".join(sorted(fields_used(self.checkpoint) | source | ({able} & {"edit"})))

    @property
    def sizes(self) -> str:
        """128x128 128x192"""
        return " ".join(self.checkpoint.size_labels())

    @property
    def schedulers(self) -> str:
        """Names of those to choose from."""
        return " ".join(self.checkpoint.schedulers)

    @property
    def defaults(self) -> str:
        """For the placeholders of the advanced fields."""
        return json.dumps(self.checkpoint.defaults)


def options(checkpoints: list[Checkpoint], chosen: object) -> list[Option]:
    """Exactly one is chosen, when there is any."""
    names = [checkpoint.name for checkpoint in checkpoints]
    name = chosen if chosen in names else next(iter(names), None)
    return [Option(checkpoint, checkpoint.name == name) for checkpoint in checkpoints]


def size_choices(checkpoints: list[Checkpoint]) -> list[tuple[str, str]]:
    """Every size that some checkpoint can draw: its value and its words."""
    sizes = sorted({(width, height) for checkpoint in checkpoints for width, height in checkpoint.sizes})
    return [(f"{width}x{height}", f"{width} × {height}{_shape(width, height)}") for width, height in sizes]


def _shape(width: int, height: int) -> str:
    if width == height:
        return ""
    return " landscape" if width > height else " portrait"
