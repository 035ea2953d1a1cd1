"""What a checkpoint folder is, and whether it may be loaded: from its config files and headers only. No torch.

Asked when a checkpoint is registered and again right before it is loaded, so that a folder that changed in between is
a clear CheckpointError. A folder that could run code (pickles, Python files, `auto_map`) is refused here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generation.engines.checkpoint_files import files_of, refuse_code, weigh
from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.mosaic import LAYOUT_FILE, TABLES_FILE
from generation.engines.mosaic import VERSION as MOSAIC_VERSION
from generation.engines.params import (
    ABLE_TO,
    LIMITS,
    MAX_EDGE,
    MIN_EDGE,
    USED,
    Capability,
    Family,
    GenerationParams,
    check_number,
)
from generation.engines.reading import AGAIN, Settings, reading
from generation.engines.safetensors_header import check_safetensors

Sizes = tuple[tuple[int, int], ...]

OWN_FILE = "tessera.json"  # optional: {"sizes": [[w, h], ...], "defaults": {"steps": 12, ...}, "capabilities": [...]}
EDGE_STEP = 8  # pixels of one latent place in the networks that are known
DRAW: tuple[Capability, ...] = ("text_to_image", "image_to_image")
LOOK: tuple[Capability, ...] = ("edit", "describe")  # what a multimodal folder may say that it was trained for
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
WEIGHTLESS = ("Tokenizer", "Scheduler", "Processor", "FeatureExtractor")  # in the names of classes without weights

# classes of diffusers that may be loaded, with the edge in pixels they were made for when the config does not say
PIPELINES: dict[str, int] = {
    "StableDiffusionPipeline": 512,
    "StableDiffusionXLPipeline": 1024,
    "StableDiffusion3Pipeline": 1024,
}
MULTIMODAL = "JanusForConditionalGeneration"


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What the files say. `networks` are the parts of a pipeline that have weights."""

    family: Family
    capabilities: tuple[Capability, ...]
    sizes: Sizes
    defaults: dict[str, float] = field(compare=False)
    size_bytes: int
    class_name: str
    networks: tuple[str, ...] = ()


def inspect_checkpoint(path: str | Path) -> CheckpointFacts:
    """Facts about the folder. Raises CheckpointError with the reason when it must not, or cannot, be loaded.

    Raises FilesUnavailableError when it is this machine that cannot read just now.
    """
    folder = Path(path)
    with reading(f"The folder {folder}"):
        if not folder.is_dir():
            raise CheckpointError(f"There is no folder {folder}.", hint="Give the folder that holds the checkpoint.")
        files = files_of(folder)
        refuse_code(folder, files)
        if (folder / "model_index.json").is_file():
            return _diffusion(folder, files)
        if (folder / "config.json").is_file():
            return _multimodal(folder, files)
    raise CheckpointError(
        f"{folder.name} holds neither model_index.json nor config.json.",
        hint="Give a folder as diffusers or transformers save it, not a single file.",
    )


def require_drawable(facts: CheckpointFacts, params: GenerationParams) -> None:
    """Raises InvalidParamsError when this checkpoint cannot do what is asked, saying what it can."""
    if params.capability not in facts.capabilities:
        able = ", ".join(ABLE_TO[capability] for capability in facts.capabilities)
        raise InvalidParamsError(f"This checkpoint cannot {ABLE_TO[params.capability]}; it can {able}.")
    if params.capability != "describe" and (params.width, params.height) not in facts.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in facts.sizes)
        raise InvalidParamsError(f"This checkpoint cannot draw {params.width}x{params.height}; it can draw {known}.")


def _diffusion(folder: Path, files: list[Path]) -> CheckpointFacts:
    index = Settings(folder / "model_index.json")
    name = index.values.get("_class_name")
    if not isinstance(name, str) or name not in PIPELINES:
        known = ", ".join(PIPELINES)
        raise CheckpointError(f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known are {known}.")
    networks = tuple(part for part, entry in index.values.items() if _is_network(folder, part, entry))
    size_bytes = sum(weigh(folder / part, files) for part in networks)
    sizes = _checked(folder, _diffusion_sizes(folder, name))
    sizes, defaults = _own(folder, "diffusion", sizes, _diffusion_defaults(folder, name))
    return CheckpointFacts("diffusion", DRAW, sizes, defaults, size_bytes, name, networks)


def _is_network(folder: Path, part: str, entry: object) -> bool:
    """Whether this entry of model_index.json has weights; refuses parts that are missing or not what they should be."""
    if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
        return False
    library, name = entry
    if library not in LIBRARIES or not isinstance(name, str):
        raise CheckpointError(
            f"{part} comes from '{library}', not from diffusers or transformers.",
            hint="Use a checkpoint whose classes come with diffusers or transformers.",
        )
    if not part.isidentifier() or not (folder / part).is_dir():
        raise CheckpointError(f"{folder.name} lacks its part {part}.", hint=AGAIN)
    if name.endswith("Pipeline"):
        raise CheckpointError(f"The part {part} is a {name}, a pipeline of its own.", hint="Use one without it.")
    if any(word in name for word in WEIGHTLESS):
        return False
    if not (folder / part / "config.json").is_file():
        raise CheckpointError(f"The part {part} has no config.json.", hint=AGAIN)
    return True


def _diffusion_sizes(folder: Path, name: str) -> Sizes:
    """The size it was made for, and for large ones a landscape and a portrait of about as many pixels."""
    network = next((part for part in ("unet", "transformer") if (folder / part / "config.json").is_file()), None)
    if network is None:
        raise CheckpointError(f"{folder.name} has neither a unet nor a transformer.", hint=AGAIN)
    edge = Settings(folder / network / "config.json").whole("sample_size")
    vae = Settings(folder / "vae" / "config.json")
    stages = vae.items("block_out_channels") or vae.items("decoder_block_out_channels") or [0] * 4
    if len(stages) > 8:
        raise vae.wrong("block_out_channels", "a list of at most 8 numbers")
    native = edge * 2 ** (len(stages) - 1) if edge is not None else PIPELINES[name]
    if native < 512:
        return ((native, native),)
    wide, narrow = native * 9 // 8 // 64 * 64, native * 7 // 8 // 64 * 64
    if native < 1024:
        wide, narrow = native * 3 // 2 // 64 * 64, native
    return ((native, native), (wide, narrow), (narrow, wide))


def _diffusion_defaults(folder: Path, name: str) -> dict[str, float]:
    """From the scheduler: few-step checkpoints say so by it."""
    file = folder / "scheduler" / "scheduler_config.json"
    config = Settings(file) if file.is_file() else Settings(file, {})
    kind = config.text("_class_name") or ""
    if kind in {"LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler"}:
        return {"steps": 4, "guidance": 1.0, "strength": 0.6}
    if kind.startswith("EulerAncestral") and config.text("timestep_spacing") == "trailing":
        return {"steps": 4, "guidance": 0.0, "strength": 0.6}  # the turbo checkpoints
    guidance = {"StableDiffusionXLPipeline": 5.0, "StableDiffusion3Pipeline": 4.5}.get(name, 7.0)
    return {"steps": 25, "guidance": guidance, "strength": 0.6}


def _multimodal(folder: Path, files: list[Path]) -> CheckpointFacts:
    config = Settings(folder / "config.json")
    name = next(iter(config.items("architectures")), None)
    if name != MULTIMODAL:
        raise CheckpointError(
            f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known is {MULTIMODAL}."
        )
    size_bytes = weigh(folder, files)
    edge = config.section("vision_config").whole("image_size") or 384
    native = _mosaic_size(folder) if (folder / LAYOUT_FILE).is_file() else (edge, edge)
    drawn = _checked(folder, (native,))
    sizes, defaults = _own(folder, "multimodal", drawn, _multimodal_defaults(folder))
    if sizes != drawn:
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists sizes that it cannot draw: it draws {native[0]}x{native[1]} only.",
            hint=f"Leave the sizes out of {OWN_FILE}.",
        )
    capabilities: tuple[Capability, ...] = ("text_to_image", *_own_capabilities(folder))
    return CheckpointFacts("multimodal", capabilities, sizes, defaults, size_bytes, MULTIMODAL)


def _multimodal_defaults(folder: Path) -> dict[str, float]:
    """From generation_config.json; Janus' own are temperature 1 and guidance 5."""
    file = folder / "generation_config.json"
    config = Settings(file) if file.is_file() else Settings(file, {})
    found = {
        "temperature": config.number("temperature") or 1.0,
        "guidance": config.number("guidance_scale") or 5.0,
    }
    _check_defaults(file, found)
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


def _own(folder: Path, family: Family, sizes: Sizes, defaults: dict[str, float]) -> tuple[Sizes, dict[str, float]]:
    """What the folder's tessera.json says goes before what was concluded."""
    file = folder / OWN_FILE
    if not file.is_file():
        return sizes, defaults
    own = Settings(file)
    if family != "multimodal" and own.items("capabilities"):
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists capabilities, which are known already for {family} checkpoints.",
            hint="Leave them out.",
        )
    given = own.section("defaults")
    known = [name for name in USED[family] if name in LIMITS]
    if unknown := sorted(given.values.keys() - set(known)):
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} sets {unknown[0]}; known are {', '.join(known)}.", hint="Leave it out."
        )
    steps = given.whole("steps")
    found = {name: value for name in known if name != "steps" and (value := given.number(name)) is not None}
    found |= {} if steps is None else {"steps": steps}
    _check_defaults(file, found)
    return _own_sizes(own) or sizes, {**defaults, **found}


def _own_capabilities(folder: Path) -> tuple[Capability, ...]:
    """The config does not tell what a network was trained for, so the folder must say what it can beyond drawing."""
    file = folder / OWN_FILE
    listed = Settings(file).items("capabilities") if file.is_file() else []
    if unknown := [name for name in listed if name not in LOOK]:
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists the capability {unknown[0]}; known are {', '.join(LOOK)}.",
            hint="Leave it out, or update Tessera.",
        )
    return tuple(name for name in LOOK if name in listed)


def _own_sizes(own: Settings) -> Sizes:
    asked = own.items("sizes")
    for size in asked:
        if not isinstance(size, list) or len(size) != 2 or not all(type(edge) is int for edge in size):
            raise own.wrong("sizes", "a list of [width, height] pairs")
        if not _is_drawable(size):
            raise own.wrong("sizes", f"made of multiples of {EDGE_STEP} from {MIN_EDGE} to {MAX_EDGE}")
    return tuple((width, height) for width, height in asked)


def _checked(folder: Path, sizes: Sizes) -> Sizes:
    for width, height in sizes:
        if not _is_drawable((width, height)):
            raise CheckpointError(
                f"{folder.name} would draw {width}x{height}; edges are multiples of {EDGE_STEP} "
                f"from {MIN_EDGE} to {MAX_EDGE}.",
                hint=AGAIN,
            )
    return sizes


def _is_drawable(size: Any) -> bool:
    return all(MIN_EDGE <= edge <= MAX_EDGE and edge % EDGE_STEP == 0 for edge in size)


def _check_defaults(file: Path, defaults: dict[str, float]) -> None:
    for name, value in defaults.items():
        try:
            check_number(name, value)
        except InvalidParamsError as error:
            place = f"{file.parent.name}/{file.name}"
            raise CheckpointError(f"{place}: {error.message}", hint="Correct the file.") from error
