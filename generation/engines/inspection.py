"""What a checkpoint folder is, and whether it may be loaded: from its config files and headers only. No torch.

Asked when a checkpoint is registered and again right before it is loaded, so that a folder that changed in between is
a clear CheckpointError. A folder that could run code (pickles, Python files, `auto_map`) is refused here.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.params import Capability, Family, GenerationParams
from generation.engines.safetensors_header import check_safetensors

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
WEIGHTS = ".safetensors"
OWN_FILE = "tessera.json"  # optional: {"sizes": [[w, h], ...], "defaults": {"steps": 12, ...}}
MOSAIC_FILE = "mosaic.json"
DEFAULT_NAMES = frozenset({"steps", "guidance", "temperature", "strength"})
DRAW: tuple[Capability, ...] = ("text_to_image", "image_to_image")

# classes of diffusers that may be loaded, with the edge in pixels they were made for when the config does not say
PIPELINES: dict[str, int] = {
    "StableDiffusionPipeline": 512,
    "StableDiffusionXLPipeline": 1024,
    "StableDiffusion3Pipeline": 1024,
}
MULTIMODAL = "JanusForConditionalGeneration"


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """What the files say. `variant` is the precision in the weights' names ("fp16"), if there are no plain ones."""

    family: Family
    capabilities: tuple[Capability, ...]
    sizes: tuple[tuple[int, int], ...]
    defaults: dict[str, float] = field(compare=False)
    size_bytes: int
    class_name: str
    variant: str | None = None


def inspect_checkpoint(path: str | Path) -> CheckpointFacts:
    """Facts about the folder. Raises CheckpointError with the reason when it must not, or cannot, be loaded."""
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}.", hint="Give the folder that holds the checkpoint.")
    files = _files(folder)
    _refuse_code(folder, files)
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
        raise InvalidParamsError(
            f"This checkpoint cannot do {params.capability}; it can {', '.join(facts.capabilities)}."
        )
    if (params.width, params.height) not in facts.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in facts.sizes)
        raise InvalidParamsError(f"This checkpoint cannot draw {params.width}x{params.height}; it can draw {known}.")


def _files(folder: Path) -> list[Path]:
    """Every file below; refuses links that lead out, which a later change could point anywhere."""
    root, found = folder.resolve(), []
    for file in sorted(folder.rglob("*")):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise CheckpointError(
                f"{file.relative_to(folder)} is a link that leads out of the folder.",
                hint="Copy the files themselves: cp -rL.",
            )
        if file.is_file():
            found.append(file)
    return found


def _refuse_code(folder: Path, files: Iterable[Path]) -> None:
    """Nothing that runs when it is loaded: Python files, and configs that name such."""
    for file in files:
        if file.suffix in {".py", ".pyc", ".so"}:
            raise CheckpointError(
                f"{file.relative_to(folder)} is program code; only weights and settings are loaded.",
                hint="Use a checkpoint whose classes come with diffusers or transformers.",
            )
        settings = file.name.endswith("config.json") or file.name == "model_index.json"
        if settings and _mentions(read_json(file), "auto_map"):
            raise CheckpointError(f"{file.relative_to(folder)} asks for code from elsewhere (auto_map).")


def _mentions(value: object, key: str) -> bool:
    if isinstance(value, dict):
        return key in value or any(_mentions(inner, key) for inner in value.values())
    return isinstance(value, list) and any(_mentions(inner, key) for inner in value)


def read_json(file: Path) -> dict[str, Any]:
    """A settings file. Raises CheckpointError unless it holds one object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file.parent.name}/{file.name} cannot be read as JSON.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file.parent.name}/{file.name} does not hold a JSON object.")
    return value


def _weights(folder: Path, files: Iterable[Path]) -> tuple[int, str | None]:
    """Bytes of the weights in this very folder, and their variant. Refuses pickles and damaged files."""
    here = [file for file in files if file.parent == folder]
    tensors = [file for file in here if file.suffix == WEIGHTS and file.name != "mosaic.safetensors"]
    if not tensors:
        pickles = [file.name for file in here if file.suffix in PICKLES]
        kind = f"only pickled weights ({pickles[0]}), which can run code" if pickles else "no weights"
        raise CheckpointError(f"{folder.name} has {kind}.", hint="Use a checkpoint saved as safetensors.")
    for index in (file for file in here if file.name.endswith(".safetensors.index.json")):
        for shard in set(read_json(index).get("weight_map", {}).values()):
            if not (folder / str(shard)).is_file():
                raise CheckpointError(f"{folder.name} lacks {shard}.", hint="Fetch the checkpoint again.")
    plain = [file for file in tensors if ".fp16" not in file.name]
    chosen = plain or tensors
    return sum(check_safetensors(file) for file in chosen), None if plain else "fp16"


def _diffusion(folder: Path, files: list[Path]) -> CheckpointFacts:
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in PIPELINES:
        known = ", ".join(PIPELINES)
        raise CheckpointError(f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known are {known}.")
    sizes_bytes, variants = 0, set()
    for part, entry in index.items():
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            continue
        library, _ = entry
        if library not in {"diffusers", "transformers", "stable_diffusion"}:
            raise CheckpointError(f"{part} comes from '{library}', not from diffusers or transformers.")
        if not (folder / part).is_dir():
            raise CheckpointError(f"{folder.name} lacks its part {part}.", hint="Fetch the checkpoint again.")
        if _has_weights(folder / part):
            size, variant = _weights(folder / part, files)
            sizes_bytes += size
            variants.add(variant)
    sizes, defaults = _own(folder, _diffusion_sizes(folder, name), _diffusion_defaults(folder, name))
    variant = "fp16" if "fp16" in variants else None
    return CheckpointFacts("diffusion", DRAW, sizes, defaults, sizes_bytes, name, variant)


def _has_weights(part: Path) -> bool:
    """Networks have a config.json; tokenizers, schedulers and processors have other settings files."""
    return (part / "config.json").is_file()


def _diffusion_sizes(folder: Path, name: str) -> tuple[tuple[int, int], ...]:
    """The size it was made for, and for large ones a landscape and a portrait of about as many pixels."""
    network = next((part for part in ("unet", "transformer") if (folder / part / "config.json").is_file()), None)
    if network is None:
        raise CheckpointError(f"{folder.name} has neither a unet nor a transformer.")
    edge = read_json(folder / network / "config.json").get("sample_size")
    vae = read_json(folder / "vae" / "config.json")
    stages = vae.get("block_out_channels") or vae.get("decoder_block_out_channels") or [0] * 4
    native = int(edge) * 2 ** (len(stages) - 1) if isinstance(edge, int) else PIPELINES[name]
    if native < 512:
        return ((native, native),)
    wide, narrow = native * 9 // 8 // 64 * 64, native * 7 // 8 // 64 * 64
    if native < 1024:
        wide, narrow = native * 3 // 2 // 64 * 64, native
    return ((native, native), (wide, narrow), (narrow, wide))


def _diffusion_defaults(folder: Path, name: str) -> dict[str, float]:
    """From the scheduler: few-step checkpoints say so by it."""
    scheduler = folder / "scheduler" / "scheduler_config.json"
    config = read_json(scheduler) if scheduler.is_file() else {}
    kind = str(config.get("_class_name", ""))
    if kind in {"LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler"}:
        return {"steps": 4, "guidance": 1.0, "strength": 0.6}
    if kind.startswith("EulerAncestral") and config.get("timestep_spacing") == "trailing":
        return {"steps": 4, "guidance": 0.0, "strength": 0.6}  # the turbo checkpoints
    guidance = {"StableDiffusionXLPipeline": 5.0, "StableDiffusion3Pipeline": 4.5}.get(name, 7.0)
    return {"steps": 25, "guidance": guidance, "strength": 0.6}


def _multimodal(folder: Path, files: list[Path]) -> CheckpointFacts:
    config = read_json(folder / "config.json")
    names = config.get("architectures") or [None]
    if names[0] != MULTIMODAL:
        raise CheckpointError(
            f"{folder.name} is a {names[0]}, which Tessera cannot draw with.", hint=f"Known is {MULTIMODAL}."
        )
    size, variant = _weights(folder, files)
    edge = config.get("vision_config", {}).get("image_size", 384)
    native = _mosaic_size(folder) if (folder / MOSAIC_FILE).is_file() else (int(edge), int(edge))
    sizes, defaults = _own(folder, (native,), _multimodal_defaults(folder))
    return CheckpointFacts("multimodal", ("text_to_image",), sizes, defaults, size, MULTIMODAL, variant)


def _multimodal_defaults(folder: Path) -> dict[str, float]:
    """From generation_config.json; Janus' own are temperature 1 and guidance 5."""
    file = folder / "generation_config.json"
    config = read_json(file) if file.is_file() else {}
    temperature, guidance = config.get("temperature") or 1.0, config.get("guidance_scale") or 5.0
    return {"temperature": float(temperature), "guidance": float(guidance)}


def _mosaic_size(folder: Path) -> tuple[int, int]:
    layout = read_json(folder / MOSAIC_FILE)
    try:
        tile, rows, columns = (int(layout[name]) for name in ("tile", "rows", "columns"))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/{MOSAIC_FILE} does not say tile, rows and columns.") from error
    tables = folder / "mosaic.safetensors"
    if not tables.is_file():
        raise CheckpointError(f"{folder.name} lacks mosaic.safetensors.", hint="Fetch the checkpoint again.")
    check_safetensors(tables)
    return columns * tile, rows * tile


def _own(
    folder: Path, sizes: tuple[tuple[int, int], ...], defaults: dict[str, float]
) -> tuple[tuple[tuple[int, int], ...], dict[str, float]]:
    """What the folder's tessera.json says goes before what was concluded."""
    if not (folder / OWN_FILE).is_file():
        return sizes, defaults
    own = read_json(folder / OWN_FILE)
    try:
        given = {str(name): float(value) for name, value in own.get("defaults", {}).items()}
        asked = tuple((int(width), int(height)) for width, height in own.get("sizes", []))
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder.name}/{OWN_FILE} is not of the form that is documented.") from error
    if unknown := sorted(given.keys() - DEFAULT_NAMES):
        known = ", ".join(sorted(DEFAULT_NAMES))
        raise CheckpointError(f"{folder.name}/{OWN_FILE} sets {unknown[0]}; known are {known}.")
    return asked or sizes, {**defaults, **given}
