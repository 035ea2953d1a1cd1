"""What a folder of an autoregressive multimodal transformer is, from its settings files. No torch."""

from pathlib import Path

from generation.engines.chat_template import shows_pictures
from generation.engines.checkpoint_facts import OWN_FILE, CheckpointFacts, check_defaults, checked_sizes, own_settings
from generation.engines.checkpoint_files import weigh
from generation.engines.errors import CheckpointError
from generation.engines.inspect_emu3 import EMU3, inspect_emu3
from generation.engines.mosaic import LAYOUT_FILE, TABLES_FILE
from generation.engines.mosaic import VERSION as MOSAIC_VERSION
from generation.engines.params import Capability
from generation.engines.reading import AGAIN, Settings
from generation.engines.safetensors_header import check_safetensors

LOOK: tuple[Capability, ...] = ("edit", "describe")  # what a folder may say that its network was trained for
JANUS = "JanusForConditionalGeneration"


def inspect_multimodal(folder: Path, files: list[Path]) -> CheckpointFacts:
    config = Settings(folder / "config.json")
    name = next(iter(config.items("architectures")), None)
    if name == EMU3:
        return inspect_emu3(folder, files, config)
    if name != JANUS:
        known = f"{JANUS}, {EMU3}"
        raise CheckpointError(f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known are {known}.")
    size_bytes = weigh(folder, files)
    edge = config.section("vision_config").whole("image_size") or 384
    native = _mosaic_size(folder) if (folder / LAYOUT_FILE).is_file() else (edge, edge)
    drawn = checked_sizes(folder, (native,))
    sizes, defaults = own_settings(folder, "multimodal", drawn, _multimodal_defaults(folder))
    if sizes != drawn:
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists sizes that it cannot draw: it draws {native[0]}x{native[1]} only.",
            hint=f"Leave the sizes out of {OWN_FILE}.",
        )
    capabilities: tuple[Capability, ...] = ("text_to_image", *_own_capabilities(folder))
    return CheckpointFacts("multimodal", capabilities, sizes, defaults, size_bytes, JANUS)


def _multimodal_defaults(folder: Path) -> dict[str, float]:
    """From generation_config.json; Janus' own are temperature 1 and guidance 5."""
    file = folder / "generation_config.json"
    config = Settings(file) if file.is_file() else Settings(file, {})
    found = {
        "temperature": config.number("temperature") or 1.0,
        "guidance": config.number("guidance_scale") or 5.0,
    }
    check_defaults(file, found)
    return found


def _mosaic_size(folder: Path) -> tuple[int, int]:
    layout = Settings(folder / LAYOUT_FILE)
    if (version := layout.values.get("version")) != MOSAIC_VERSION:
        raise CheckpointError(
            f"{folder.name} has a mosaic of version {version}, and this Tessera reads {MOSAIC_VERSION}.",
            hint="Update Tessera.",
        )
    tile, rows, columns = (layout.whole(name) for name in ("tile", "rows", "columns"))
    if tile is None or rows is None or columns is None:
        raise CheckpointError(f"{folder.name}/{LAYOUT_FILE} does not say tile, rows and columns.", hint=AGAIN)
    tables = folder / TABLES_FILE
    if not tables.is_file():
        raise CheckpointError(f"{folder.name} lacks {TABLES_FILE}.", hint=AGAIN)
    check_safetensors(tables)
    return columns * tile, rows * tile


def _own_capabilities(folder: Path) -> tuple[Capability, ...]:
    """What a network was trained for beyond drawing, its folder must say; one that shows pictures in chats did so."""
    file = folder / OWN_FILE
    own = Settings(file) if file.is_file() else Settings(file, {})
    if "capabilities" not in own.values and shows_pictures(folder):
        return ("describe",)
    listed = own.items("capabilities")
    if unknown := [name for name in listed if name not in LOOK]:
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists the capability {unknown[0]}; known are {', '.join(LOOK)}.",
            hint="Leave it out, or update Tessera.",
        )
    return tuple(name for name in LOOK if name in listed)
