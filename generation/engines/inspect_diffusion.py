"""What a folder of diffusers is: its pipeline class, parts, sizes and defaults, from its settings files. No torch."""

from pathlib import Path

from generation.engines.checkpoint_facts import CheckpointFacts, Sizes, checked_sizes, own_settings
from generation.engines.checkpoint_files import weigh
from generation.engines.errors import CheckpointError
from generation.engines.inspect_glm_image import GLM_IMAGE, inspect_glm_image
from generation.engines.pipelines import PIPELINES, PipelineKind
from generation.engines.reading import AGAIN, Settings
from generation.engines.schedulers import schedulers_of

LIBRARIES = ("diffusers", "transformers", "stable_diffusion", "glm_image")
# in the names of classes without weights
WEIGHTLESS = ("Tokenizer", "Scheduler", "Processor", "FeatureExtractor", "Guidance")
# width and height of large ones, in sixteenths of the square's edge: about as many pixels in other shapes
SHAPES = ((18, 14), (14, 18), (19, 13), (13, 19), (21, 12), (12, 21))


def inspect_diffusion(folder: Path, files: list[Path]) -> CheckpointFacts:
    """The facts. Raises CheckpointError with the reason when it must not, or cannot, be loaded."""
    index = Settings(folder / "model_index.json")
    name = index.values.get("_class_name")
    if not isinstance(name, str) or name not in {*PIPELINES, GLM_IMAGE}:
        known = ", ".join([*PIPELINES, GLM_IMAGE])
        raise CheckpointError(f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known are {known}.")
    networks = tuple(part for part, entry in index.values.items() if _is_network(folder, part, entry))
    size_bytes = sum(weigh(folder / part, files) for part in networks)
    if name == GLM_IMAGE:
        return inspect_glm_image(folder, index, networks, size_bytes)
    return facts_of(folder, name, size_bytes, networks)


def facts_of(folder: Path, name: str, size_bytes: int, networks: tuple[str, ...]) -> CheckpointFacts:
    """The facts of a folder that holds the settings of a pipeline of this class, wherever the weights are."""
    kind = PIPELINES[name]
    sizes = checked_sizes(folder, _sizes(folder, kind), kind.multiple)
    sizes, defaults = own_settings(folder, "diffusion", sizes, _defaults(folder, name), kind.multiple)
    schedulers = schedulers_of(folder, name)
    return CheckpointFacts("diffusion", tuple(kind.ways), sizes, defaults, size_bytes, name, networks, schedulers)


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


def _sizes(folder: Path, kind: PipelineKind) -> Sizes:
    """The square it was made for, and for large ones other shapes of about as many pixels."""
    network = next((part for part in ("unet", "transformer") if (folder / part / "config.json").is_file()), None)
    if network is None:
        raise CheckpointError(f"{folder.name} has neither a unet nor a transformer.", hint=AGAIN)
    vae = Settings(folder / "vae" / "config.json")
    stages = _stages(vae)
    if kind.sizes:
        return kind.sizes
    edge = Settings(folder / network / "config.json").whole("sample_size") if kind.sampled else None
    native = kind.edge if edge is None else edge * 2 ** (stages - 1)
    if native < 512:
        return ((native, native),)
    if native < 1024:
        wide = native * 3 // 2 // 64 * 64
        return ((native, native), (wide, native), (native, wide))
    step = max(kind.multiple, 64)
    return ((native, native), *((native * w // 16 // step * step, native * h // 16 // step * step) for w, h in SHAPES))


def _stages(vae: Settings) -> int:
    """Of the decoder, each but one doubling the edges."""
    names = ("block_out_channels", "decoder_block_out_channels")
    name = next((name for name in names if vae.items(name)), None)
    stages = len(vae.items(name)) if name else 4
    if stages > 8:
        raise vae.wrong(name or names[0], "a list of at most 8 numbers")
    return stages


def _defaults(folder: Path, name: str) -> dict[str, float]:
    """Those of the class, or of a few-step checkpoint where the settings tell that it is one."""
    kind = PIPELINES[name]
    steps, guidance = _few_steps(folder, name) or (kind.steps, kind.guidance)
    return {"steps": steps, "guidance": guidance, "strength": kind.strength}


def _few_steps(folder: Path, name: str) -> tuple[int, float] | None:
    """Steps and guidance of a distilled checkpoint: its scheduler or its network says so."""
    scheduler = _settings(folder / "scheduler" / "scheduler_config.json")
    kind = scheduler.text("_class_name") or ""
    if kind in {"LCMScheduler", "TCDScheduler", "FlowMatchLCMScheduler"}:
        return 4, 1.0
    if kind.startswith("EulerAncestral") and scheduler.text("timestep_spacing") == "trailing":
        return 4, 0.0  # the turbo checkpoints
    transformer = _settings(folder / "transformer" / "config.json").values
    if name == "FluxPipeline" and transformer.get("guidance_embeds") is False:
        return 4, 0.0  # schnell
    if name == "Flux2KleinPipeline" and _settings(folder / "model_index.json").values.get("is_distilled") is True:
        return 4, 1.0
    if name == "ZImagePipeline" and scheduler.number("shift") == 3.0:
        return 9, 0.0  # turbo; the base has 6
    if name == "HunyuanImagePipeline" and transformer.get("use_meanflow") is True:
        return 8, 3.25
    return None


def _settings(file: Path) -> Settings:
    return Settings(file) if file.is_file() else Settings(file, {})
