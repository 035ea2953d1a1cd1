"""Pictures from diffusion pipelines: the whole at once, shown as it gets sharper."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from generation.engines.aside import Emit, iterate_aside
from generation.engines.base import CancelToken
from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.device import Device
from generation.engines.diffusion_arguments import arguments, unheeded
from generation.engines.diffusion_latents import CleanLatents
from generation.engines.diffusion_memory import rungs_of, spare, weights_of
from generation.engines.diffusion_precision import check_latents, to_pixels
from generation.engines.diffusion_preview import Previewer
from generation.engines.diffusion_reading import read_pipeline
from generation.engines.diffusion_schedule import fresh_scheduler
from generation.engines.diffusion_siblings import sibling
from generation.engines.errors import CheckpointError
from generation.engines.fragments import Fragment, Kind, Note, Pixels, Step
from generation.engines.inspection import inspect_checkpoint, require_drawable
from generation.engines.loading import bytes_of, unusable
from generation.engines.lora import LoraShelf
from generation.engines.params import Capability, CheckpointSpec, GenerationParams
from generation.engines.pipelines import PIPELINES
from generation.engines.plan import AS_IS, MEMORY_RUNGS, MemoryRung, Plan
from generation.engines.precision import attention_in, numbers_for
from generation.engines.weights import Weights

MOST_PREVIEWS = 16


class DiffusionEngine:
    """A diffusers pipeline from a local folder. Pictures of a batch are drawn one after the other, each by its seed."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self.spec = spec
        self._device: Device | None = None
        self._facts: CheckpointFacts | None = None
        self._pipelines: dict[Capability, Any] = {}
        self._previewer: Previewer | None = None
        self._scheduler: Any = None
        self._loras = LoraShelf()
        self._plan = AS_IS
        self.rungs: tuple[MemoryRung, ...] = MEMORY_RUNGS
        self.weights: Weights | None = None

    def load(self, device: Device, plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError."""
        folder = Path(self.spec.path)
        facts = inspect_checkpoint(folder)
        if facts.family != "diffusion":
            raise CheckpointError(f"{self.spec.name} is of the family {facts.family}, not diffusion.")
        numbers = numbers_for(device, plan.precision)
        with device.memory_errors(f"loading {self.spec.name}"):
            with unusable(self.spec.name):
                pipeline = read_pipeline(self.spec, numbers, facts)
            self._pipelines[facts.capabilities[0]], self._scheduler = pipeline, pipeline.scheduler
            self.rungs, self.weights = rungs_of(pipeline), weights_of(pipeline, device, numbers)
            spare(pipeline, self.weights, AS_IS, plan)
            self.weights.wake()
            self._previewer = Previewer.of(pipeline, folder)
        self._device, self._facts, self._plan = device, facts, plan

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on; False when the weights must be read anew for it."""
        if plan.precision != self._plan.precision or self.weights is None:
            return False
        spare(self._main(), self.weights, self._plan, plan)
        self._plan = plan
        return True

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Fragment | Note | Step]:
        """Previews of each picture, then its final. Raises EngineError."""
        if self._device is None or self._facts is None or not self._pipelines:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        require_drawable(self._facts, params)
        pipeline = self._pipeline(params.capability, self._facts)
        wish = arguments(pipeline, params, self._facts)
        with self._device.memory_errors("applying LoRAs"):
            self._loras.apply(pipeline, params.loras)
        yield from unheeded(pipeline, params)
        for index in range(params.count):
            cancel.raise_if_canceled()
            with self._device.memory_errors("drawing"):
                yield from self._draw(pipeline, params, wish, index, cancel)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        if self.weights is not None:
            self.weights.drop()
        self.weights = None
        self._pipelines.clear()
        self._previewer = self._scheduler = None
        self._loras = LoraShelf()

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        parts = (part for pipeline in self._pipelines.values() for part in pipeline.components.values())
        return bytes_of(part for part in parts if isinstance(part, torch.nn.Module))

    def _main(self) -> Any:
        """The pipeline that was read."""
        return next(iter(self._pipelines.values()))

    def _pipeline(self, capability: Capability, facts: CheckpointFacts) -> Any:
        """Another capability is the same pipeline asked in another way, or another one around the same networks."""
        if capability not in self._pipelines:
            read, kind = self._main(), getattr(diffusers, PIPELINES[facts.class_name].ways[capability])
            self._pipelines[capability] = read if isinstance(read, kind) else sibling(read, kind)
        return self._pipelines[capability]

    def _draw(
        self, pipeline: Any, params: GenerationParams, wish: dict[str, Any], index: int, cancel: CancelToken
    ) -> Iterator[Fragment | Step]:
        """One picture. The scheduler is its own: it has state, and it is listened to."""
        device, previewer, seed = self._device, self._previewer, params.seed + index
        assert device is not None  # noqa: S101 generate has seen to it
        numbers, generator = numbers_for(device, self._plan.precision), device.generator(seed)
        pipeline.scheduler = fresh_scheduler(self._scheduler, params.scheduler, generator)
        place = _Place(index, seed, params.width, params.height)

        def work(emit: Emit[Fragment | Step]) -> None:
            def heard(step: int, noisy: torch.Tensor, clean: torch.Tensor | None) -> None:
                cancel.raise_if_canceled()
                steps = max(step, _steps_of(pipeline))
                check_latents({"latents": noisy}, step - 1, steps)
                emit(Step(index, step, steps))
                if previewer is not None and clean is not None and _is_shown(step - 1, steps):
                    emit(place.preview(previewer.pixels(clean, params.width, params.height), step, steps))

            heed = CleanLatents(pipeline.scheduler, heard)
            with attention_in(numbers):
                drawn = pipeline(**wish, generator=generator, output_type="np", return_dict=False)[0]
            emit(place.final(_finished(to_pixels(drawn[0]), wish), heed.steps))

        yield from iterate_aside(work)


@dataclass(slots=True)
class _Place:
    """Which picture of the batch, and how many previews of it were made."""

    index: int
    seed: int
    width: int
    height: int
    previews: int = 0

    def preview(self, pixels: Pixels, step: int, steps: int) -> Fragment:
        self.previews += 1
        return self._fragment(Kind.PREVIEW, self.previews - 1, pixels, step, steps)

    def final(self, pixels: Pixels, steps: int) -> Fragment:
        return self._fragment(Kind.FINAL, 0, pixels, steps, steps)

    def _fragment(self, kind: Kind, sequence: int, pixels: Pixels, step: int, steps: int) -> Fragment:
        return Fragment(
            kind, self.index, sequence, 0, 0, self.width, self.height, step, steps, pixels=pixels, seed=self.seed
        )


def _is_shown(step: int, steps: int) -> bool:
    """Every step of few, MOST_PREVIEWS spread evenly over many, the last one always."""
    shown = min(steps, MOST_PREVIEWS)
    return (step + 1) * shown // steps > step * shown // steps


def _steps_of(pipeline: Any) -> int:
    """How often this drawing steps its scheduler."""
    return int(getattr(pipeline, "num_timesteps", 0) or len(pipeline.scheduler.timesteps))


def _finished(pixels: Pixels, wish: dict[str, Any]) -> Pixels:
    """What a mask protects is the source's, to the pixel: pipelines send all of it through the decoder."""
    if "mask_image" not in wish:
        return pixels
    return np.asarray(Image.composite(Image.fromarray(pixels), wish["image"], wish["mask_image"]))
