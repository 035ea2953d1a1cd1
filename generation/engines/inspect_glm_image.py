"""What a folder of GLM-Image is: a pipeline of diffusers around a transformer that follows instructions. No torch."""

from pathlib import Path

from generation.engines.checkpoint_facts import OWN_FILE, CheckpointFacts, Sizes, check_defaults, own_settings
from generation.engines.errors import CheckpointError
from generation.engines.params import Capability
from generation.engines.reading import AGAIN, Settings

GLM_IMAGE = "GlmImagePipeline"
DRAW_AND_EDIT: tuple[Capability, ...] = ("text_to_image", "edit")
CODE_EDGE = 32  # pixels of one picture code
MOST_LONG = 4  # its eyes refuse pictures of a longer shape than 4 to 1
# about a megapixel each, the smaller of the two it was made for, in the shapes people ask for
SIZES: Sizes = ((1024, 1024), (1152, 896), (896, 1152), (1344, 768), (768, 1344))
# the network parts, and what else there must be: with another class it is not this pipeline
PARTS = {
    "text_encoder": "T5EncoderModel",
    "transformer": "GlmImageTransformer2DModel",
    "vae": "AutoencoderKL",
    "vision_language_encoder": "GlmImageForConditionalGeneration",
}
OTHERS = {
    "processor": "GlmImageProcessor",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
    "tokenizer": "ByT5Tokenizer",
}


def inspect_glm_image(folder: Path, index: Settings, networks: tuple[str, ...], size_bytes: int) -> CheckpointFacts:
    """Facts from its `index` (model_index.json), whose `networks` were found and weighed. Raises CheckpointError."""
    for part, wanted in (PARTS | OTHERS).items():
        entry = index.items(part)
        if len(entry) != 2 or entry[1] != wanted:
            found = entry[1] if len(entry) == 2 else "nothing"
            raise CheckpointError(f"The part {part} of {folder.name} is {found}, not a {wanted}.", hint=AGAIN)
    if unknown := sorted(set(networks) - set(PARTS)):
        raise CheckpointError(f"{folder.name} has a part {unknown[0]}, which GLM-Image has not.", hint=AGAIN)
    sizes, defaults = own_settings(folder, "multimodal", SIZES, _defaults(folder))
    _refuse_capabilities(folder)
    return CheckpointFacts(
        "multimodal", DRAW_AND_EDIT, _checked(folder, sizes), defaults, size_bytes, GLM_IMAGE, networks
    )


def _defaults(folder: Path) -> dict[str, float]:
    """Its makers draw with 30 steps and guidance 1.5; the temperature of its codes stands in its files."""
    file = folder / "vision_language_encoder" / "generation_config.json"
    config = Settings(file) if file.is_file() else Settings(file, {})
    found = {"steps": 30, "guidance": 1.5, "temperature": config.number("temperature") or 0.9}
    check_defaults(file, found)
    return found


def _checked(folder: Path, sizes: Sizes) -> Sizes:
    for width, height in sizes:
        if width % CODE_EDGE or height % CODE_EDGE or max(width, height) > MOST_LONG * min(width, height):
            raise CheckpointError(
                f"{folder.name}/{OWN_FILE} lists {width}x{height}; the edges of GLM-Image are multiples of "
                f"{CODE_EDGE}, one at most {MOST_LONG} times the other.",
                hint="Correct the file.",
            )
    return sizes


def _refuse_capabilities(folder: Path) -> None:
    file = folder / OWN_FILE
    if file.is_file() and Settings(file).items("capabilities"):
        raise CheckpointError(
            f"{folder.name}/{OWN_FILE} lists capabilities, which are known already for GLM-Image.",
            hint="Leave them out.",
        )
