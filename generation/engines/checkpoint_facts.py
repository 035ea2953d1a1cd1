"""What inspection finds out about a checkpoint, and how much of it the folder's own tessera.json may say. No torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.params import LIMITS, MAX_EDGE, MIN_EDGE, Capability, Family, check_number, used_by
from generation.engines.reading import AGAIN, Settings

Sizes = tuple[tuple[int, int], ...]

OWN_FILE = "tessera.json"  # optional: {"sizes": [[w, h], ...], "defaults": {"steps": 12, ...}, "capabilities": [...]}
TOGETHER = ("JanusForConditionalGeneration",)
EDGE_STEP = 8  # pixels of one latent place in the networks that are known


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What the files say. `networks` are the parts of a pipeline that have weights, `schedulers` those it can use."""

    family: Family
    capabilities: tuple[Capability, ...]
    sizes: Sizes
    defaults: dict[str, float] = field(compare=False)
    size_bytes: int
    class_name: str
    networks: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()

    @property
    def together(self) -> bool:
        """Whether several wishes are drawn side by side, for little more than one of them costs."""
        return self.class_name in TOGETHER


def own_settings(
    folder: Path, family: Family, sizes: Sizes, defaults: dict[str, float], multiple: int = EDGE_STEP
) -> tuple[Sizes, dict[str, float]]:
    """What the folder's tessera.json says goes before what was concluded."""
    file = folder / OWN_FILE
    return settings_in(file, family, sizes, defaults, multiple) if file.is_file() else (sizes, defaults)


def settings_in(
    file: Path, family: Family, sizes: Sizes, defaults: dict[str, float], multiple: int = EDGE_STEP
) -> tuple[Sizes, dict[str, float]]:
    """As `own_settings`, from this file."""
    own, shown = Settings(file), f"{file.parent.name}/{file.name}"
    if family != "multimodal" and own.items("capabilities"):
        raise CheckpointError(
            f"{shown} lists capabilities, which are known already for {family} checkpoints.",
            hint="Leave them out.",
        )
    given = own.section("defaults")
    known = [name for name in used_by(family, defaults) if name in LIMITS]
    if unknown := sorted(given.values.keys() - set(known)):
        raise CheckpointError(f"{shown} sets {unknown[0]}; known are {', '.join(known)}.", hint="Leave it out.")
    steps = given.whole("steps")
    found = {name: value for name in known if name != "steps" and (value := given.number(name)) is not None}
    found |= {} if steps is None else {"steps": steps}
    check_defaults(file, found)
    return _sizes(own, multiple) or sizes, {**defaults, **found}


def _sizes(own: Settings, multiple: int) -> Sizes:
    asked = own.items("sizes")
    for size in asked:
        if not isinstance(size, list) or len(size) != 2 or not all(type(edge) is int for edge in size):
            raise own.wrong("sizes", "a list of [width, height] pairs")
        if not _is_drawable(size, multiple):
            raise own.wrong("sizes", f"made of multiples of {multiple} from {MIN_EDGE} to {MAX_EDGE}")
    return tuple((width, height) for width, height in asked)


def checked_sizes(folder: Path, sizes: Sizes, multiple: int = EDGE_STEP) -> Sizes:
    """The same. Raises CheckpointError for one that cannot be drawn."""
    for width, height in sizes:
        if not _is_drawable((width, height), multiple):
            raise CheckpointError(
                f"{folder.name} would draw {width}x{height}; edges are multiples of {multiple} "
                f"from {MIN_EDGE} to {MAX_EDGE}.",
                hint=AGAIN,
            )
    return sizes


def _is_drawable(size: Any, multiple: int) -> bool:
    return all(MIN_EDGE <= edge <= MAX_EDGE and edge % multiple == 0 for edge in size)


def check_defaults(file: Path, defaults: dict[str, float]) -> None:
    """Raises CheckpointError for one outside its limits."""
    for name, value in defaults.items():
        try:
            check_number(name, value)
        except InvalidParamsError as error:
            place = f"{file.parent.name}/{file.name}"
            raise CheckpointError(f"{place}: {error.message}", hint="Correct the file.") from error
