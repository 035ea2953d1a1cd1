"""What a single .safetensors file holds: told from the names of its tensors, as those who train write them. No torch.

A layout names the settings that go with it (`configs/<name>`), and where each network is. The same names may hold
tensors of other shapes than the usual: `single_settings` reads those.
"""

from pathlib import Path

from generation.engines.errors import CheckpointError
from generation.engines.flux_layouts import flux_prefix, layout_of_flux
from generation.engines.single_places import Layout, Place, Tensors, has, refuse_quantised

UNET = "model.diffusion_model."
UNET_IN = f"{UNET}input_blocks.0.0.weight"
VAE = "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_CLIP, XL_OPEN_CLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
REFINER_OPEN_CLIP = "conditioner.embedders.0.model."
FOLDER = "Give a file of Stable Diffusion 1.5, SDXL or FLUX.1; for others give the folder as diffusers saves it."
WHOLE = "Use the file that has all parts."

# tensors that only stand in files of a kind that is not read, and what it is
OTHERS = {
    "lora": "a LoRA, which goes on top of a checkpoint",
    "control_model.": "a ControlNet",
    "controlnet_": "a ControlNet",
    "edm_mean": "Playground 2.5, whose noise is of another kind",
    "joint_blocks.": "Stable Diffusion 3",
    OPEN_CLIP: "Stable Diffusion 2",
    "single_stream_modulation.": "FLUX.2",
    "distilled_guidance_layer.": "Chroma",
    "cap_embedder.": "Lumina or Z-Image",
}


def layout_of(file: Path, tensors: Tensors) -> Layout:
    """Raises CheckpointError with what the file is, or lacks, when it cannot be a checkpoint."""
    refuse_quantised(file, tensors)
    for mark, kind in OTHERS.items():
        if any(mark in name for name in tensors):
            raise CheckpointError(f"{file.name} is {kind}; Tessera does not read it from a single file.", hint=FOLDER)
    if UNET_IN in tensors:
        return _stable(file, tensors)
    if flux_prefix(tensors) is not None:
        return layout_of_flux(file, tensors)
    if any(has(place, tensors) for place in ("encoder.", "decoder.", "text_model.", VAE)):
        raise CheckpointError(f"{file.name} holds no network that draws, only a part around one.", hint=FOLDER)
    raise CheckpointError(f"{file.name} is of no kind that Tessera reads from a single file.", hint=FOLDER)


def _stable(file: Path, tensors: Tensors) -> Layout:
    """Stable Diffusion: told by the text encoders, and by the channels that its UNet takes."""
    channels = _channels(file, tensors)
    if not has(VAE, tensors):
        raise CheckpointError(f"{file.name} lacks its picture decoder ({VAE}*).", hint=WHOLE)
    places = {"unet": Place(file, UNET), "vae": Place(file, VAE)}
    kind = "_inpaint" if channels == 9 else ""
    if has(XL_OPEN_CLIP, tensors) and has(XL_CLIP, tensors):
        words = {"text_encoder": Place(file, XL_CLIP), "text_encoder_2": Place(file, XL_OPEN_CLIP)}
        return Layout(f"sdxl{kind}", places | words)
    if has(REFINER_OPEN_CLIP, tensors) and not kind:
        return Layout("sdxl_refiner", places | {"text_encoder_2": Place(file, REFINER_OPEN_CLIP)})
    if has(CLIP, tensors):
        return Layout(f"sd15{kind}", places | {"text_encoder": Place(file, CLIP)})
    raise CheckpointError(f"{file.name} lacks its text encoder.", hint=WHOLE)


def _channels(file: Path, tensors: Tensors) -> int:
    shape = tensors[UNET_IN].shape
    if len(shape) != 4 or shape[1] not in (4, 9):
        taken = shape[1] if len(shape) == 4 else "no"
        raise CheckpointError(
            f"The UNet of {file.name} takes {taken} channels; it must be 4 (from words) or 9 (inpainting).", hint=FOLDER
        )
    return shape[1]
