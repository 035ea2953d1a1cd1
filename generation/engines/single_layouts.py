"""What a single .safetensors file holds: told from the names of its tensors, as those who train write them. No torch.

A layout names the settings that go with it (`configs/<name>`), and where in the file each network is. The same names
may hold tensors of other shapes than the usual: `single_settings` reads those.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from generation.engines.errors import CheckpointError
from generation.engines.safetensors_header import TensorInfo

CONFIGS = Path(__file__).parent / "configs"
UNET = "model.diffusion_model."
UNET_IN = f"{UNET}input_blocks.0.0.weight"
VAE = "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_CLIP, XL_OPEN_CLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
REFINER_OPEN_CLIP = "conditioner.embedders.0.model."
FOLDER = "Give a file of Stable Diffusion 1.5, SDXL or FLUX.1; for others give the folder as diffusers saves it."
WHOLE = "Use the file that has all parts."

Tensors = Mapping[str, TensorInfo]

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
QUANTISED = (".scale_weight", ".weight_scale", ".scale_input", "scaled_fp8", ".comfy_quant", ".absmax", ".quant_state")


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file. `places`: what the names of each network's tensors begin with, longest first where one holds
    another. `title` is for sentences.
    """

    name: str
    title: str
    places: Mapping[str, str] = field(hash=False)

    @property
    def folder(self) -> Path:
        """Of its settings."""
        return CONFIGS / self.name

    def part(self, part: str, tensors: Tensors) -> dict[str, TensorInfo]:
        """The tensors of one network, without what their names begin with."""
        return dict(_within(self.places[part], tensors))


def layout_of(file: Path, tensors: Tensors) -> Layout:
    """Raises CheckpointError with what the file is, or lacks, when it cannot be a checkpoint."""
    _refuse_quantised(file, tensors)
    for mark, kind in OTHERS.items():
        if any(mark in name for name in tensors):
            raise CheckpointError(f"{file.name} is {kind}; Tessera does not read it from a single file.", hint=FOLDER)
    if UNET_IN in tensors:
        return _stable(file, tensors)
    if any(name.startswith(("encoder.", "decoder.", VAE)) for name in tensors) and not _has(UNET, tensors):
        raise CheckpointError(f"{file.name} holds no network that draws, only parts around one.", hint=FOLDER)
    raise CheckpointError(f"{file.name} is of no kind that Tessera reads from a single file.", hint=FOLDER)


def _stable(file: Path, tensors: Tensors) -> Layout:
    """Stable Diffusion: told by the text encoders, and by the channels that its UNet takes."""
    channels = _channels(file, tensors)
    around = {"unet": UNET, "vae": VAE}
    if not _has(VAE, tensors):
        raise CheckpointError(f"{file.name} lacks its picture decoder ({VAE}*).", hint=WHOLE)
    if _has(XL_OPEN_CLIP, tensors) and _has(XL_CLIP, tensors):
        places = {"text_encoder": XL_CLIP, "text_encoder_2": XL_OPEN_CLIP, **around}
        if channels == 9:
            return Layout("sdxl_inpaint", "Stable Diffusion XL for inpainting", places)
        return Layout("sdxl", "Stable Diffusion XL", places)
    if _has(REFINER_OPEN_CLIP, tensors) and channels == 4:
        return Layout(
            "sdxl_refiner", "the refiner of Stable Diffusion XL", {"text_encoder_2": REFINER_OPEN_CLIP, **around}
        )
    if _has(CLIP, tensors):
        places = {"text_encoder": CLIP, **around}
        if channels == 9:
            return Layout("sd15_inpaint", "Stable Diffusion 1.5 for inpainting", places)
        return Layout("sd15", "Stable Diffusion 1.5", places)
    raise CheckpointError(f"{file.name} lacks its text encoder.", hint=WHOLE)


def _channels(file: Path, tensors: Tensors) -> int:
    shape = tensors[UNET_IN].shape
    if len(shape) != 4 or shape[1] not in (4, 9):
        taken = shape[1] if len(shape) == 4 else "no"
        raise CheckpointError(
            f"The UNet of {file.name} takes {taken} channels; it must be 4 (from words) or 9 (inpainting).", hint=FOLDER
        )
    return shape[1]


def _refuse_quantised(file: Path, tensors: Tensors) -> None:
    if any(name.endswith(QUANTISED) for name in tensors):
        raise CheckpointError(
            f"The weights of {file.name} are quantised with scales of their own, which Tessera does not read.",
            hint="Use those in 16 or 32 bit; Tessera can make them smaller itself (--precision int8).",
        )


def _has(place: str, tensors: Tensors) -> bool:
    return any(name.startswith(place) for name in tensors)


def _within(place: str, tensors: Tensors) -> Iterator[tuple[str, TensorInfo]]:
    for name, tensor in tensors.items():
        if name.startswith(place):
            yield name.removeprefix(place), tensor
