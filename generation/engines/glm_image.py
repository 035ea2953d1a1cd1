"""Pictures from GLM-Image: a transformer draws picture codes, then a diffusion part makes the picture of them.

Both parts are shown as they go: codes as colours (see `glm_image_colours`), then the latent as it gets sharper.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from generation.engines.base import CancelToken
from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.device import Device
from generation.engines.diffusion_memory import rungs_of, spare, weights_of
from generation.engines.diffusion_preview import Previewer
from generation.engines.diffusion_reading import read_pipeline
from generation.engines.errors import CheckpointError, InvalidParamsError
from generation.engines.fragments import Fragment, Note, Step
from generation.engines.glm_image_colours import CodeColours
from generation.engines.glm_image_loop import Sampling, draw_codes, look
from generation.engines.glm_image_progress import Progress, Sketch
from generation.engines.glm_image_prompt import GlmImagePrompts
from generation.engines.glm_image_refining import Refiner, Refining, decoder_of, has_long_quotes
from generation.engines.inspect_glm_image import CODE_EDGE
from generation.engines.inspection import inspect_checkpoint, require_drawable
from generation.engines.loading import bytes_of, unusable
from generation.engines.multimodal_precision import WIDE_ATTENTION
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, MEMORY_RUNGS, MemoryRung, Plan
from generation.engines.precision import numbers_for
from generation.engines.reading import AGAIN
from generation.engines.source import open_source
from generation.engines.weights import Weights


class GlmImageEngine:
    """A GlmImagePipeline from a local folder. Pictures of a batch are drawn one after the other, each by its seed."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self.rungs: tuple[MemoryRung, ...] = MEMORY_RUNGS
        self.weights: Weights | None = None
        self.spec = spec
        self._device: Device | None = None
        self._facts: CheckpointFacts | None = None
        self._pipeline: Any = None
        self._prompts: GlmImagePrompts | None = None
        self._refiner: Refiner | None = None
        self._colours: CodeColours | None = None
        self._plan = AS_IS

    def load(self, device: Device, plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError."""
        folder = Path(self.spec.path)
        facts, numbers = inspect_checkpoint(folder), numbers_for(device, plan.precision)
        with device.memory_errors(f"loading {self.spec.name}"):
            with unusable(self.spec.name):
                pipeline = read_pipeline(self.spec, numbers, facts)
                _require_fit(self.spec.name, pipeline)
                if numbers.attention is not numbers.network:
                    pipeline.vision_language_encoder.set_attn_implementation(WIDE_ATTENTION)
                positions = pipeline.vision_language_encoder.config.text_config.max_position_embeddings
                self._prompts = GlmImagePrompts(pipeline.processor, positions)
                for size in facts.sizes:
                    self._prompts.require_fit(*size)
            self.rungs, self.weights = rungs_of(pipeline), weights_of(pipeline, device, numbers)
            spare(pipeline, self.weights, AS_IS, plan)
            self.weights.wake()
            previewer = Previewer.of(pipeline, folder, decoder_of(pipeline.vae))
            self._refiner = Refiner(pipeline, numbers, previewer)
            self._colours = CodeColours.measure(pipeline.vision_language_encoder, pipeline.processor.image_processor)
        self._pipeline, self._device, self._facts, self._plan = pipeline, device, facts, plan

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on; False when the weights must be read anew for it."""
        if plan.precision != self._plan.precision or self.weights is None:
            return False
        spare(self._pipeline, self.weights, self._plan, plan)
        self._plan = plan
        return True

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Fragment | Note | Step]:
        """Previews of each picture, then its final. Raises EngineError."""
        if self._device is None or self._facts is None or self._prompts is None or self._pipeline is None:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        require_drawable(self._facts, params)
        if params.codes:
            raise InvalidParamsError(
                "The codes of this checkpoint are only half of a picture.", hint="Draw the picture again by its recipe."
            )
        network, defaults = self._pipeline.vision_language_encoder, self._facts.defaults
        picture = None if params.source is None else open_source(params.source, params.width, params.height)
        asked = self._prompts.write(params.prompt, params.width, params.height, picture)
        if has_long_quotes(self._pipeline, params.prompt):
            yield Note("prompt.truncated", "A text in quotes is longer than this checkpoint can write; it was cut.")
        with self._device.memory_errors("looking at the picture"):
            seen = look(network, asked)
        if picture is not None and asked.seen is not None:  # both parts must see as many places
            rows, columns = asked.seen
            picture = picture.resize((columns * CODE_EDGE, rows * CODE_EDGE), Image.Resampling.LANCZOS)
        guidance = defaults["guidance"] if params.guidance is None else params.guidance
        refining = Refining(params.prompt, guidance, asked, picture, seen)
        for index in range(params.count):
            with self._device.memory_errors("drawing"):
                yield from self._draw(params, refining, index, cancel)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        if self.weights is not None:
            self.weights.drop()
        self._pipeline = self._prompts = self._refiner = self._colours = self.weights = None

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        parts = [] if self._pipeline is None else self._pipeline.components.values()
        return bytes_of(part for part in parts if isinstance(part, torch.nn.Module))

    def _draw(
        self, params: GenerationParams, refining: Refining, index: int, cancel: CancelToken
    ) -> Iterator[Fragment | Step]:
        """One picture. Both parts begin from the seed, so that a picture can be made of its codes again."""
        device, facts, refiner = self._device, self._facts, self._refiner
        assert device is not None and facts is not None and refiner is not None  # noqa: S101 generate has seen to it
        asked, seed = refining.asked, params.seed + index
        rounds = params.steps or int(facts.defaults["steps"])
        progress = Progress(index, seed, (params.width, params.height), asked.codes, rounds)
        codes: list[int] = []
        yield from self._draw_codes(params, refining, progress, codes, cancel)
        arguments = refining.arguments(codes, progress)
        yield from refiner.run(arguments, device.generator(seed), progress, cancel)

    def _draw_codes(
        self, params: GenerationParams, refining: Refining, progress: Progress, codes: list[int], cancel: CancelToken
    ) -> Iterator[Fragment | Step]:
        """Fill `codes`, and show them where that says something."""
        device, facts, colours = self._device, self._facts, self._colours
        assert device is not None and facts is not None and colours is not None  # noqa: S101 generate has seen to it
        network = self._pipeline.vision_language_encoder
        temperature = facts.defaults["temperature"] if params.temperature is None else params.temperature
        sampling = Sampling.of(network.generation_config, temperature)
        sketch = Sketch(colours, refining.asked, refining.picture) if colours.is_worth_showing else None
        generator = device.generator(progress.seed)
        for code in draw_codes(network, refining.asked, refining.seen, sampling, generator):
            cancel.raise_if_canceled()
            codes.append(code)
            at = progress.drew(len(codes))
            yield at
            pixels = None if sketch is None else sketch.pixels(codes)
            if pixels is not None:
                yield progress.preview(pixels, at)


def _require_fit(name: str, pipeline: Any) -> None:
    """Raises CheckpointError when the two parts are not made for each other."""
    config, transformer = pipeline.vision_language_encoder.config, pipeline.transformer.config
    codes = config.vq_config.num_embeddings
    least = min(config.text_config.vision_vocab_size, transformer.prior_vq_quantizer_codebook_size)
    if not pipeline.vae.config.latents_mean or not pipeline.vae.config.latents_std:
        raise CheckpointError(f"The picture decoder of {name} does not say how its latents are scaled.", hint=AGAIN)
    if codes > least:
        raise CheckpointError(f"{name} has {codes} picture codes, of which one of its parts knows {least}.", hint=AGAIN)
    edge = 2 * pipeline.vae_scale_factor * transformer.patch_size
    if edge != CODE_EDGE:
        raise CheckpointError(f"{name} draws {edge} pixels a code, and GLM-Image draws {CODE_EDGE}.", hint=AGAIN)
