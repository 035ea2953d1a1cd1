"""The family of autoregressive multimodal transformers: one engine a class of transformers, chosen by the folder."""

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import cast

from generation.engines.base import CancelToken, DrawsTogether, Engine, Item, Wish
from generation.engines.device import Device
from generation.engines.errors import CheckpointError
from generation.engines.fragments import Ended
from generation.engines.inspection import inspect_checkpoint
from generation.engines.params import CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, MEMORY_RUNGS, MemoryRung, Plan
from generation.engines.weights import Weights

# by the class that inspection names; imported on first use
ENGINES = {
    "Emu3ForConditionalGeneration": "generation.engines.emu3.Emu3Engine",
    "GlmImagePipeline": "generation.engines.glm_image.GlmImageEngine",
    "JanusForConditionalGeneration": "generation.engines.janus.JanusEngine",
}


class MultimodalEngine:
    """Hands everything on to the engine of the class that the folder holds."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self.spec = spec
        self._inner: Engine | None = None

    @property
    def rungs(self) -> tuple[MemoryRung, ...]:
        """Of the engine inside."""
        return getattr(self._inner, "rungs", MEMORY_RUNGS)

    @property
    def made_bytes(self) -> int:
        """Of the engine inside."""
        return getattr(self._inner, "made_bytes", 0)

    @property
    def weights(self) -> Weights | None:
        """Of the engine inside."""
        return getattr(self._inner, "weights", None)

    def load(self, device: Device, plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError."""
        facts = inspect_checkpoint(self.spec.path)
        if facts.family != "multimodal":
            raise CheckpointError(f"{self.spec.name} is of the family {facts.family}, not multimodal.")
        module, _, name = ENGINES[facts.class_name].rpartition(".")
        self._inner = cast(Engine, getattr(import_module(module), name)(self.spec))
        self._inner.load(device, plan)

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on; False when the weights must be read anew for it."""
        return self._inner is not None and self._inner.adapt(plan)

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Item]:
        """Fragments of each picture, then its final; or words. Raises EngineError."""
        if self._inner is None:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        yield from self._inner.generate(params, cancel)

    def generate_many(
        self, wishes: Sequence[Wish], newcomers: Callable[[], Sequence[Wish]] = tuple
    ) -> Iterator[tuple[int, Item | Ended]]:
        """The same for many wishes side by side. Only for checkpoints whose facts say that they draw together."""
        if not hasattr(self._inner, "generate_many"):
            raise CheckpointError(f"{self.spec.name} draws one wish after the other.")
        yield from cast(DrawsTogether, self._inner).generate_many(wishes, newcomers)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        if self._inner is not None:
            self._inner.unload()
        self._inner = None

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        return 0 if self._inner is None else self._inner.size_bytes()
