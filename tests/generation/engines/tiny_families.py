"""A tiny real pipeline of each class on the list, as its `save_pretrained` writes it. Weights are random."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from tests.generation.engines import tiny_flux, tiny_stable, tiny_transformers
from tests.generation.engines.drawing import change


def save(pipeline: Any, folder: Path, size: tuple[int, int] | None = None) -> Path:
    """To disk; with the size a tiny one can draw, where the class has a large one of its own."""
    pipeline.save_pretrained(folder)
    if isinstance(pipeline, diffusers.Flux2Pipeline):  # as those who publish it say, see pixtral_tokenizer
        change(folder / "model_index.json", tokenizer=["transformers", "PixtralProcessor"])
    if size is not None:
        (folder / "tessera.json").write_text(f'{{"sizes": [{list(size)}]}}', encoding="utf-8")
    return folder


@dataclass(frozen=True, slots=True)
class Family:
    """How to make one, and the size it draws in the tests."""

    build: Callable[[], Any]
    size: tuple[int, int] | None = None

    def save(self, folder: Path) -> Path:
        torch.manual_seed(5)
        return save(self.build(), folder, self.size)


FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": Family(tiny_stable.stable_diffusion),
    "StableDiffusionInpaintPipeline": Family(tiny_stable.stable_inpaint),
    "StableDiffusionXLPipeline": Family(tiny_stable.xl),
    "StableDiffusionXLInpaintPipeline": Family(tiny_stable.xl_inpaint),
    "StableDiffusionXLImg2ImgPipeline": Family(tiny_stable.refiner),
    "StableDiffusion3Pipeline": Family(tiny_stable.sd3),
    "FluxPipeline": Family(tiny_flux.flux, (64, 32)),
    "FluxFillPipeline": Family(tiny_flux.flux_fill, (64, 32)),
    "FluxKontextPipeline": Family(tiny_flux.flux_kontext, (64, 32)),
    "Flux2KleinPipeline": Family(tiny_flux.klein, (64, 64)),
    "Flux2Pipeline": Family(tiny_flux.flux2, (64, 64)),
    "ChromaPipeline": Family(tiny_flux.chroma, (64, 32)),
    "SanaPipeline": Family(tiny_transformers.sana),
    "SanaSprintPipeline": Family(tiny_transformers.sana_sprint),
    "Lumina2Pipeline": Family(tiny_transformers.lumina2),
    "HunyuanImagePipeline": Family(tiny_transformers.hunyuan_image, (128, 64)),
    "Kandinsky5T2IPipeline": Family(tiny_transformers.kandinsky5, (64, 32)),
    "QwenImagePipeline": Family(tiny_transformers.qwen_image, (64, 32)),
    "QwenImageEditPipeline": Family(tiny_transformers.qwen_edit, (64, 32)),
    "QwenImageEditPlusPipeline": Family(tiny_transformers.qwen_edit_plus, (64, 32)),
    "ZImagePipeline": Family(tiny_transformers.z_image, (64, 32)),
}
