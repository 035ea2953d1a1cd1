"""What an engine is asked for: a frozen, self-checking wish, and the checkpoint that shall fulfil it."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from generation.engines.errors import InvalidParamsError
from generation.engines.schedulers import check_scheduler

Capability = Literal["text_to_image", "image_to_image", "inpaint", "edit", "describe"]
Family = Literal["diffusion", "multimodal"]

NEEDS_SOURCE: tuple[Capability, ...] = ("image_to_image", "inpaint", "edit", "describe")
ABLE_TO: dict[Capability, str] = {  # for sentences: "it can ...", "it cannot ..."
    "text_to_image": "draw from words alone",
    "image_to_image": "start from a picture",
    "inpaint": "repaint a part of a picture",
    "edit": "edit a picture by instruction",
    "describe": "describe pictures",
}
QUESTION = "describe the picture"  # what a describe wish without words asks

PROMPT_LIMIT = 4000  # characters
SEED_LIMIT = 2**31  # seeds that are drawn by lot stay below it, so that people can read them out
MAX_COUNT = 4
MAX_LORAS = 8
MAX_STEPS = 150
MAX_SEED = 2**63 - 1
MIN_EDGE = 16
MAX_EDGE = 4096
LIMITS: dict[str, tuple[float, float]] = {
    "width": (MIN_EDGE, MAX_EDGE),
    "height": (MIN_EDGE, MAX_EDGE),
    "count": (1, MAX_COUNT),
    "seed": (0, MAX_SEED - MAX_COUNT),
    "steps": (1, MAX_STEPS),
    "guidance": (0, 30),
    "temperature": (0, 5),
    "strength": (0.01, 1),
    "lora weight": (-4, 4),
}
NUMBERS = tuple(name for name in LIMITS if name != "lora weight")  # the fields of a wish that are numbers
# what drawing with a family depends on beside words, size, seed and count; a recipe names no other
USED: dict[str, tuple[str, ...]] = {
    "diffusion": ("negative_prompt", "steps", "guidance", "strength", "scheduler", "loras"),
    "multimodal": ("steps", "guidance", "temperature"),
}


def used_by(family: str, defaults: Collection[str]) -> tuple[str, ...]:
    """The same for one checkpoint: it depends on steps only when it has a default for them, as diffusion parts do."""
    return tuple(name for name in USED.get(family, ()) if name != "steps" or name in defaults)


def with_a_picture(capabilities: Collection[str]) -> Capability:
    """What a wish that hands in a picture asks of a checkpoint that can do these. It may not be able to at all."""
    return "edit" if "edit" in capabilities and "image_to_image" not in capabilities else "image_to_image"


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    """Which weights: a name for people, an absolute path (a folder or one file), the family that loads it.

    `precision` other than auto is an operator's choice. `sha256`, where known, is checked before weights are read;
    `manifest` is what it is made of, the sums of the single files.
    `keep_warm`: never forgotten for being idle. `footprint`: what is known of its memory, as `footprint.Footprint`.
    """

    name: str
    path: str
    family: str
    precision: str = "auto"
    sha256: str = ""
    manifest: str = field(default="", repr=False)
    keep_warm: bool = field(default=False, compare=False)
    footprint: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Lora:
    """Weights on top of a checkpoint's: a name, an absolute path of a safetensors file, how strongly it counts.

    `sha256`, where known, is checked before they are read.
    """

    name: str
    path: str
    weight: float = 1.0
    sha256: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidParamsError."""
        check_number("lora weight", self.weight)


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """One wish. None means: the checkpoint's own default. `source` is an encoded picture (PNG, JPEG or WebP bytes).

    `mask` is one too, white where "inpaint" paints anew. `scheduler` is a name of `schedulers.SCHEDULERS`.

    The prompt of "edit" is an instruction; that of "describe" a question, QUESTION when empty, answered in words.

    With `codes`, those of a picture that was drawn before, nothing is drawn: they are shown again as they are.

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
    mask: bytes | None = None
    scheduler: str | None = None
    loras: tuple[Lora, ...] = ()
    codes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises InvalidParamsError with a sentence that names the value."""
        _check_text("prompt", self.prompt)
        _check_text("negative prompt", self.negative_prompt)
        for name in NUMBERS:
            check_number(name, getattr(self, name))
        if self.capability in NEEDS_SOURCE and self.source is None:
            name = self.capability.replace("_", " ").capitalize()
            raise InvalidParamsError(f"{name} needs a picture.", hint="Hand in a picture or take one from a gallery.")
        if self.capability == "describe" and self.count != 1:
            raise InvalidParamsError("A picture is described once at a time.", hint="Leave the count at 1.")
        if self.capability == "text_to_image" and self.source is not None:
            raise InvalidParamsError("Text to image starts from words alone.", hint="Leave the picture out.")
        if (self.capability == "inpaint") != (self.mask is not None):
            raise InvalidParamsError(
                "Repainting a part needs a mask, and nothing else takes one.",
                hint="Hand in a mask, white where to paint.",
            )
        if self.codes and (self.capability != "text_to_image" or self.count != 1):
            raise InvalidParamsError("Codes are shown again one picture at a time, and need nothing else.")
        check_scheduler(self.scheduler)
        if len(self.loras) > MAX_LORAS:
            raise InvalidParamsError(f"{len(self.loras)} LoRAs are too many; {MAX_LORAS} is the most.")

    def to_header(self) -> dict[str, Any]:
        """JSON-ready, without the pictures' bytes."""
        values = asdict(self)
        del values["source"], values["mask"]
        return values

    @classmethod
    def from_header(cls, header: Mapping[str, Any], *, source: bytes | None, mask: bytes | None) -> Self:
        """The reverse. Raises InvalidParamsError; KeyError or TypeError when it is no header."""
        loras = tuple(Lora(**lora) for lora in header.get("loras", ()))
        codes = tuple(header.get("codes", ()))
        return cls(**{**header, "loras": loras, "codes": codes}, source=source, mask=mask)


def check_number(name: str, value: float | None) -> None:
    """Raises InvalidParamsError unless it is None or within the limits of its name; what is no number never is."""
    least, most = LIMITS[name]
    if value is not None and not least <= value <= most:
        raise InvalidParamsError(f"The {name} is {value}; use {least} to {most}.")


def _check_text(name: str, text: str) -> None:
    if len(text) > PROMPT_LIMIT:
        raise InvalidParamsError(
            f"The {name} has {len(text):,} characters; {PROMPT_LIMIT:,} is the most.", hint="Shorten it."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidParamsError(f"The {name} holds half a character.", hint="Use text that is valid UTF-8.") from error
