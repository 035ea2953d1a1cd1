"""The pipeline classes of diffusers that may be loaded, and what each needs to be asked for. No torch.

A class stands here only when a tiny form of it is drawn with in the tests. Numbers are those of its documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from generation.engines.params import Capability

Ways = Mapping[Capability, str]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PipelineKind:
    """One class. `ways` name the class that draws each capability from the same weights, the main one first.

    `edge`: pixels of the square it was made for; where `sampled`, what the network's `sample_size` says goes first.
    `sizes`: all of them, for a class that knows only some. `multiple`: of the edges in pixels.
    `guided_by`: the argument that takes the guidance; empty where nothing does. `blank`: the negative prompt without
    which there is no guidance. `negative_scale`: the guidance away from a negative prompt, where that is another
    argument than `guided_by`.
    """

    ways: Ways
    edge: int = 1024
    multiple: int = 16
    steps: int = 28
    guidance: float = 4.0
    strength: float = 0.6
    guided_by: str = "guidance_scale"
    blank: str | None = None
    negative_scale: float | None = None
    sampled: bool = False
    sizes: tuple[Size, ...] = ()


def _words(stem: str, more: Ways | None = None) -> Ways:
    """StemPipeline draws from words; and what else is named."""
    return {"text_to_image": f"{stem}Pipeline", **(more or {})}


def _all(stem: str) -> Ways:
    """The usual three names: StemPipeline, StemImg2ImgPipeline, StemInpaintPipeline."""
    return _words(stem, {"image_to_image": f"{stem}Img2ImgPipeline", "inpaint": f"{stem}InpaintPipeline"})


def _both_ways(square: Size, *wide: Size) -> tuple[Size, ...]:
    """A square, and landscapes with the portraits they are when turned."""
    return (square, *(size for landscape in wide for size in (landscape, landscape[::-1])))


QWEN = PipelineKind(
    _all("QwenImage"),
    edge=1328,
    steps=50,
    guided_by="true_cfg_scale",
    blank=" ",
    sizes=_both_ways((1328, 1328), (1472, 1104), (1584, 1056), (1664, 928)),
)

QWEN_EDIT = _both_ways((1024, 1024), (1152, 896), (1248, 832), (1376, 768))
STABLE: dict[str, PipelineKind] = {
    "StableDiffusionPipeline": PipelineKind(_all("StableDiffusion"), 512, 8, 25, 7.0, sampled=True),
    "StableDiffusionInpaintPipeline": PipelineKind(
        {"inpaint": "StableDiffusionInpaintPipeline"}, 512, 8, 25, 7.0, 1.0, sampled=True
    ),
    "StableDiffusionXLPipeline": PipelineKind(_all("StableDiffusionXL"), 1024, 8, 25, 5.0, sampled=True),
    "StableDiffusionXLImg2ImgPipeline": PipelineKind(  # the refiner
        {"image_to_image": "StableDiffusionXLImg2ImgPipeline"}, 1024, 8, 25, 5.0, 0.3, sampled=True
    ),
    "StableDiffusionXLInpaintPipeline": PipelineKind(
        {"inpaint": "StableDiffusionXLInpaintPipeline"}, 1024, 8, 25, 7.5, 0.99, sampled=True
    ),
    "StableDiffusion3Pipeline": PipelineKind(_all("StableDiffusion3"), steps=28, guidance=4.5, sampled=True),
}
FLUX: dict[str, PipelineKind] = {
    "FluxPipeline": PipelineKind(_all("Flux"), guidance=3.5, negative_scale=2.0),
    "FluxFillPipeline": PipelineKind({"inpaint": "FluxFillPipeline"}, steps=50, guidance=30.0, strength=1.0),
    "FluxKontextPipeline": PipelineKind(
        {
            "edit": "FluxKontextPipeline",
            "text_to_image": "FluxKontextPipeline",
            "inpaint": "FluxKontextInpaintPipeline",
        },
        guidance=3.5,
        negative_scale=2.0,
    ),
    "Flux2Pipeline": PipelineKind(_words("Flux2", {"edit": "Flux2Pipeline"}), steps=50),
    "Flux2KleinPipeline": PipelineKind(
        _words("Flux2Klein", {"edit": "Flux2KleinPipeline", "inpaint": "Flux2KleinInpaintPipeline"}), steps=50
    ),
    "ChromaPipeline": PipelineKind(  # its inpaint class asks for a setting its network has not (diffusers 0.42)
        _words("Chroma", {"image_to_image": "ChromaImg2ImgPipeline"}), steps=35, guidance=5.0
    ),
}
OTHERS: dict[str, PipelineKind] = {
    "QwenImagePipeline": QWEN,
    "QwenImageEditPipeline": replace(QWEN, ways={"edit": "QwenImageEditPipeline"}, multiple=32, sizes=QWEN_EDIT),
    "QwenImageEditPlusPipeline": replace(
        QWEN, ways={"edit": "QwenImageEditPlusPipeline"}, multiple=32, steps=40, sizes=QWEN_EDIT
    ),
    "ZImagePipeline": PipelineKind(_all("ZImage"), steps=50, guidance=5.0),
    "SanaPipeline": PipelineKind(_words("Sana"), multiple=32, steps=20, guidance=4.5, sampled=True),
    "SanaSprintPipeline": PipelineKind(
        _words("SanaSprint", {"image_to_image": "SanaSprintImg2ImgPipeline"}),
        multiple=32,
        steps=2,
        guidance=4.5,
        sampled=True,
    ),
    "Lumina2Pipeline": PipelineKind(_words("Lumina2"), steps=30, sampled=True),
    "HunyuanImagePipeline": PipelineKind(
        _words("HunyuanImage"),
        edge=2048,
        multiple=64,
        steps=50,
        guidance=3.25,
        guided_by="distilled_guidance_scale",
        sizes=_both_ways((2048, 2048), (2304, 1792), (2560, 1536)),
    ),
    "Kandinsky5T2IPipeline": PipelineKind(
        _words("Kandinsky5T2I"),
        steps=50,
        guidance=3.5,
        sizes=_both_ways((1024, 1024), (1152, 896), (1280, 768), (1408, 640)),
    ),
}
PIPELINES: dict[str, PipelineKind] = {**STABLE, **FLUX, **OTHERS}
