"""FLUX.1 in a single file: the transformer alone, with the other parts in files beside it, or all in one. No torch."""

from pathlib import Path

from generation.engines.errors import CheckpointError
from generation.engines.single_places import Layout, Place, Tensors, has

MARK = "double_blocks.0.img_attn.qkv.weight"
# parts inside a file that has all of them, and the names of files that have one each; the first found is taken
INSIDE = {
    "vae": "vae.",
    "text_encoder": "text_encoders.clip_l.transformer.",
    "text_encoder_2": "text_encoders.t5xxl.transformer.",
}
FILES = {
    "vae": ("ae.safetensors",),
    "text_encoder": ("clip_l.safetensors",),
    "text_encoder_2": ("t5xxl_fp16.safetensors", "t5xxl*.safetensors"),
}
WORDS = "tokenizer_2"  # a folder beside the file: T5's words
CHANNELS = {64: "", 384: "fill"}  # that the transformer takes for one place of the canvas


def flux_prefix(tensors: Tensors) -> str | None:
    """What the names of the transformer's tensors begin with; None when there is none."""
    return next((start for start in ("", "model.diffusion_model.") if start + MARK in tensors), None)


def layout_of_flux(file: Path, tensors: Tensors) -> Layout:
    """Raises CheckpointError for what is missing, with where to put it."""
    prefix = flux_prefix(tensors) or ""
    places = {"transformer": Place(file, prefix)}
    for part, inside in INSIDE.items():
        if has(inside, tensors):
            places[part] = Place(file, inside)
        elif found := _beside(file, part):
            places[part] = Place(found, "")
    words = file.parent / WORDS
    lacking = [FILES[part][0] for part in INSIDE if part not in places]
    lacking += [] if (words / "tokenizer.json").is_file() else [f"the folder {WORDS}"]
    if lacking:
        hint = f"Put into {file.parent}, as they come with FLUX.1: {', '.join(lacking)}."
        if (file.parent / "model_index.json").is_file():
            hint = f"The folder it is in is a checkpoint by itself: give {file.parent}."
        raise CheckpointError(f"{file.name} is FLUX.1 without all of its parts.", hint=hint)
    return Layout(_name(file, tensors, prefix), places, (words,))


def _beside(file: Path, part: str) -> Path | None:
    found = (one for pattern in FILES[part] for one in sorted(file.parent.glob(pattern)) if one != file)
    return next(found, None)


def _name(file: Path, tensors: Tensors, prefix: str) -> str:
    taken = tensors.get(f"{prefix}img_in.weight")
    channels = taken.shape[-1] if taken and taken.shape else 0
    if channels not in CHANNELS:
        raise CheckpointError(
            f"The transformer of {file.name} takes {channels} channels; it must be 64, or 384 of FLUX.1 Fill.",
            hint="Use FLUX.1 dev, schnell or Fill.",
        )
    if CHANNELS[channels]:
        return "flux_fill"
    return "flux_dev" if has(f"{prefix}guidance_in.", tensors) else "flux_schnell"
