"""What an engine is asked for: a frozen, self-checking wish, and the checkpoint that shall fulfil it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from generation.engines.errors import InvalidParamsError

Capability = Literal["text_to_image", "image_to_image", "inpaint", "edit", "describe"]
Family = Literal["diffusion", "multimodal"]

MAX_COUNT = 4
MAX_STEPS = 150
MAX_SEED = 2**63 - 1
MAX_EDGE = 4096


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Which weights: a name for people, an absolute folder, the family that loads it."""

    name: str
    path: str
    family: str


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """One wish. None means: the checkpoint's own default. `source` is an encoded picture (PNG, JPEG or WebP bytes).

    Picture `i` of `count` is drawn with seed `seed + i`, so any one of a batch can be drawn again alone.
    """

    prompt: str
    width: int
    height: int
    seed: int
    count: int = 1
    negative_prompt: str = ""
    steps: int | None = None
    guidance: float | None = None
    temperature: float | None = None
    strength: float | None = None
    capability: Capability = "text_to_image"
    source: bytes | None = None

    def __post_init__(self) -> None:
        """Raises InvalidParamsError with a sentence that names the value."""
        _within("width", self.width, 16, MAX_EDGE)
        _within("height", self.height, 16, MAX_EDGE)
        _within("count", self.count, 1, MAX_COUNT)
        _within("seed", self.seed, 0, MAX_SEED - MAX_COUNT)
        _within("steps", self.steps, 1, MAX_STEPS)
        _within("guidance", self.guidance, 0, 30)
        _within("temperature", self.temperature, 0, 5)
        _within("strength", self.strength, 0.01, 1)
        if self.capability == "image_to_image" and self.source is None:
            raise InvalidParamsError(
                "Image to image needs a picture.", hint="Hand in a picture or take one from a gallery."
            )

    def to_header(self) -> dict[str, Any]:
        """JSON-ready, without the picture's bytes."""
        values = asdict(self)
        del values["source"]
        return values


def _within(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidParamsError(f"The {name} is {value}; use {least} to {most}.")
