"""What a checkpoint (a folder or a file) is, and whether it may be loaded: from settings and headers only. No torch.

Asked when a checkpoint is registered and again right before it is loaded, so that a folder that changed in between is
a clear CheckpointError. A folder that could run code (pickles, Python files, `auto_map`) is refused here.
"""

from pathlib import Path

from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.checkpoint_files import WEIGHTS, files_of
from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.inspect_diffusion import inspect_diffusion
from generation.engines.inspect_multimodal import inspect_multimodal
from generation.engines.inspect_single_file import inspect_single_file
from generation.engines.params import ABLE_TO, USED, GenerationParams
from generation.engines.reading import reading
from generation.engines.refusals import refuse_hostile
from generation.engines.schedulers import require_scheduler


def inspect_checkpoint(path: str | Path) -> CheckpointFacts:
    """Facts about the folder or file. Raises CheckpointError with the reason when it must not, or cannot, be loaded.

    Raises FilesUnavailableError when it is this machine that cannot read just now.
    """
    folder = Path(path)
    with reading(str(folder)):
        if folder.is_file():
            return inspect_single_file(folder)
        if not folder.is_dir():
            kind = "file" if folder.suffix == WEIGHTS else "folder"
            raise CheckpointError(f"There is no {kind} {folder}.", hint=f"Give the {kind} that holds the checkpoint.")
        files = files_of(folder)
        refuse_hostile(folder, files)
        if (folder / "model_index.json").is_file():
            return inspect_diffusion(folder, files)
        if (folder / "config.json").is_file():
            return inspect_multimodal(folder, files)
    raise CheckpointError(
        f"{folder.name} holds neither model_index.json nor config.json.",
        hint="Give a folder as diffusers or transformers save it, or a single .safetensors file.",
    )


def require_drawable(facts: CheckpointFacts, params: GenerationParams) -> None:
    """Raises InvalidParamsError when this checkpoint cannot do what is asked, saying what it can."""
    if params.capability not in facts.capabilities:
        able = ", ".join(ABLE_TO[capability] for capability in facts.capabilities)
        raise InvalidParamsError(f"This checkpoint cannot {ABLE_TO[params.capability]}; it can {able}.")
    if params.codes and facts.family != "multimodal":
        raise InvalidParamsError("This checkpoint draws without codes.", hint="Draw the picture again by its recipe.")
    if params.capability != "describe" and (params.width, params.height) not in facts.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in facts.sizes)
        raise InvalidParamsError(f"This checkpoint cannot draw {params.width}x{params.height}; it can draw {known}.")
    require_scheduler(params.scheduler, facts.schedulers)
    if params.loras and "loras" not in USED[facts.family]:
        raise InvalidParamsError("This checkpoint takes no LoRAs.", hint="Leave them out.")
