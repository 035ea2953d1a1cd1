"""What a folder of diffusers is: its pipeline class, parts, sizes and defaults, from its settings files. No torch."""

from pathlib import Path

from generation.engines.checkpoint_facts import CheckpointFacts, Sizes, checked_sizes, own_settings
from generation.engines.checkpoint_files import weigh
from generation.engines.errors import CheckpointError
from generation.engines.inspect_glm_image import GLM_IMAGE, inspect_glm_image
from generation.engines.params import Capability
from generation.engines.reading import AGAIN, Settings
from generation.engines.schedulers import schedulers_of

DRAW: tuple[Capability, ...] = ("text_to_image", "image_to_image")
LIBRARIES = ("diffusers", "transformers", "stable_diffusion", "glm_image")
WEIGHTLESS = ("Tokenizer", "Scheduler", "Processor", "FeatureExtractor")  # in the names of classes without weights

# classes of diffusers that may be loaded, with the edge in pixels they were made for when the config does not say
PIPELINES: dict[str, int] = {
    "StableDiffusionPipeline": 512,
    "StableDiffusionXLPipeline": 1024,
    "StableDiffusion3Pipeline": 1024,
}


def inspect_diffusion(folder: Path, files: list[Path]) -> CheckpointFacts:
    index = Settings(folder / "model_index.json")
    name = index.values.get("_class_name")
    if not isinstance(name, str) or name not in {*PIPELINES, GLM_IMAGE}:
        known = ", ".join([*PIPELINES, GLM_IMAGE])
        raise CheckpointError(f"{folder.name} is a {name}, which Tessera cannot draw with.", hint=f"Known are {known}.")
    networks = tuple(part for part, entry in index.values.items() if _is_network(folder, part, entry))
    size_bytes = sum(weigh(folder / part, files) for part in networks)
    if name == GLM_IMAGE:
        return inspect_glm_image(folder, index, networks, size_bytes)
    sizes = checked_sizes(folder, _diffusion_sizes(folder, name))
    sizes, defaults = own_settings(folder, "diffusion", sizes, _diffusion_defaults(folder, name))
    schedulers = schedulers_of(folder, name)
    return CheckpointFacts("diffusion", DRAW, sizes, defaults, size_bytes, name, networks, schedulers)


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
