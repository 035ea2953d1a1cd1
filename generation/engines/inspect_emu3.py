"""What a folder of an Emu3 is, from its settings files. No torch.

Two were published: Gen draws, Chat answers questions about pictures. Their files are the same but for the weights, so
that nothing in them tells which is which. The folder's tessera.json has the last word ("capabilities"); else the name
it was published under counts, in its path or its config; else one without a chat template draws, and one with a
template is offered for both.
"""

import re
from pathlib import Path

from generation.engines.chat_template import shows_pictures
from generation.engines.checkpoint_facts import (
    OWN_FILE,
    CheckpointFacts,
    Sizes,
    check_defaults,
    checked_sizes,
    own_settings,
)
from generation.engines.checkpoint_files import weigh
from generation.engines.errors import CheckpointError
from generation.engines.params import Capability
from generation.engines.reading import AGAIN, Settings

EMU3 = "Emu3ForConditionalGeneration"
ABLE: tuple[Capability, ...] = ("text_to_image", "describe")
PUBLISHED = re.compile(r"emu3[-_. ]?(gen|chat)", re.IGNORECASE)
AREA = 720 * 720  # pixels of the pictures that Gen was trained on; any shape of about this area is one of its sizes
SHAPES = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16))
SHORTEST = 32  # positions for words below which no prompt is worth drawing


def inspect_emu3(folder: Path, files: list[Path], config: Settings) -> CheckpointFacts:
    """The facts of it."""
    size_bytes = weigh(folder, files)
    scale = 2 ** (len(config.section("vq_config").items("channel_multiplier") or (1, 2, 2, 4)) - 1)
    positions = config.section("text_config").whole("max_position_embeddings") or 9216
    able = _capabilities(folder, config)
    found, defaults = own_settings(folder, "multimodal", _native_sizes(scale, positions), _defaults(folder))
    if "text_to_image" not in able:
        return CheckpointFacts("multimodal", able, (), {}, size_bytes, EMU3)
    sizes = checked_sizes(folder, found)
    for width, height in sizes:
        if width % scale or height % scale or not _holds(positions, width // scale, height // scale):
            raise CheckpointError(
                f"{folder.name} cannot draw {width}x{height}: edges are multiples of {scale}, and a picture must fit "
                f"into {positions} positions.",
                hint=f"Leave the size out of {OWN_FILE}.",
            )
    if not sizes:
        raise CheckpointError(f"{folder.name} has no room for a picture in {positions} positions.", hint=AGAIN)
    return CheckpointFacts("multimodal", able, sizes, defaults, size_bytes, EMU3)


def _capabilities(folder: Path, config: Settings) -> tuple[Capability, ...]:
    file = folder / OWN_FILE
    own = Settings(file).items("capabilities") if file.is_file() else []
    if unknown := [name for name in own if name not in ABLE]:
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists the capability {unknown[0]}; an Emu3 has {' or '.join(ABLE)}.",
            hint="Leave it out.",
        )
    if own:
        return tuple(name for name in ABLE if name in own)
    if not shows_pictures(folder):
        return ("text_to_image",)
    places = (*folder.parts[-3:], config.text("_name_or_path") or "")  # a download cache names the folder above
    names = {told.group(1).lower() for place in reversed(places) if (told := PUBLISHED.search(place))}
    if names == {"gen"}:
        return ("text_to_image",)
    return ("describe",) if names == {"chat"} else ABLE


def _native_sizes(scale: int, positions: int) -> Sizes:
    """As the processor of Emu3 makes a grid of codes of a shape and an area."""
    grids = []
    for wide, high in SHAPES:
        edge = (AREA / (wide * high)) ** 0.5 / scale
        grids.append((round(wide * edge), round(high * edge)))
    return tuple((wide * scale, high * scale) for wide, high in grids if _holds(positions, wide, high))


def _holds(positions: int, columns: int, rows: int) -> bool:
    """Every row of codes is followed by the mark of its end."""
    return rows * (columns + 1) + SHORTEST <= positions


def _defaults(folder: Path) -> dict[str, float]:
    """From generation_config.json; Emu3's own are temperature 1 and guidance 3."""
    file = folder / "generation_config.json"
    config = Settings(file) if file.is_file() else Settings(file, {})
    found = {
        "temperature": config.number("temperature") or 1.0,
        "guidance": config.number("guidance_scale") or 3.0,
    }
    check_defaults(file, found)
    return found
