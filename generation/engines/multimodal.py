"""Pictures from autoregressive multimodal transformers: code by code, shown as they come."""

from collections.abc import Iterator
from pathlib import Path

import transformers
from transformers import AutoTokenizer, JanusForConditionalGeneration, PreTrainedTokenizerBase

from generation.engines.base import CancelToken
from generation.engines.decoder import JanusDecoder, MosaicDecoder, Patch, StreamingDecoder
from generation.engines.device import Device
from generation.engines.errors import CheckpointError
from generation.engines.fragments import Fragment, Kind, Note
from generation.engines.inspection import MOSAIC_FILE, CheckpointFacts, inspect_checkpoint, require_drawable
from generation.engines.janus_loop import Sampling, draw_codes
from generation.engines.janus_prompt import Prompt, PromptWriter
from generation.engines.loading import bytes_of, quiet, unusable
from generation.engines.mosaic import Mosaic
from generation.engines.params import Capability, CheckpointSpec, GenerationParams
from generation.engines.precision import choose_dtype


class MultimodalEngine:
    """Janus, and our starter that is a Janus with a mosaic for its codebook."""

    def __init__(self, spec: CheckpointSpec) -> None:
        self.spec = spec
        self.capabilities: frozenset[Capability] = frozenset({"text_to_image"})
        self._device: Device | None = None
        self._facts: CheckpointFacts | None = None
        self._network: JanusForConditionalGeneration | None = None
        self._writer: PromptWriter | None = None
        self._mosaic: Mosaic | None = None

    def load(self, device: Device) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError."""
        folder = Path(self.spec.path)
        facts = inspect_checkpoint(folder)
        if facts.family != "multimodal":
            raise CheckpointError(f"{self.spec.name} is of the family {facts.family}, not multimodal.")
        with device.memory_errors(f"loading {self.spec.name}"), unusable(self.spec.name):
            network, tokenizer = _read(folder, device, facts)
            self._mosaic = Mosaic.load(folder) if (folder / MOSAIC_FILE).is_file() else None
        self._network, self._device, self._facts = network, device, facts
        self.capabilities = frozenset(facts.capabilities)
        longest = network.config.text_config.max_position_embeddings - self._decoder().tokens
        self._writer = PromptWriter(folder, tokenizer, network.generation_config, longest)

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Fragment | Note]:
        """Fragments of each picture, then its final. Raises EngineError."""
        if self._device is None or self._facts is None or self._writer is None:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        require_drawable(self._facts, params)
        sampling = _sampling(params, self._facts.defaults)
        prompt = self._writer.write(params.prompt, guided=sampling.guided)
        if prompt.truncated:
            yield Note("prompt.truncated", "The prompt is longer than this checkpoint can read; its end was left out.")
        for index in range(params.count):
            with self._device.memory_errors("drawing"):
                yield from self._draw(prompt, sampling, params.seed + index, index, cancel)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        self._network = self._writer = self._mosaic = None

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        return bytes_of([self._network]) if self._network is not None else 0

    def _draw(
        self, prompt: Prompt, sampling: Sampling, seed: int, index: int, cancel: CancelToken
    ) -> Iterator[Fragment]:
        """One picture."""
        device, decoder, sequence, step = self._device, self._decoder(), 0, 0
        assert device is not None  # noqa: S101 generate has seen to it
        codes = draw_codes(
            self._network,
            prompt.rows,
            sampling,
            device.generator(seed),
            tokens=decoder.tokens,
            allowed=decoder.allowed,
        )
        for step, code in enumerate(codes, start=1):
            cancel.raise_if_canceled()
            patch = decoder.feed(code)
            if patch is not None:
                yield _fragment(Kind.FRAGMENT, patch, decoder, (index, sequence, step, seed))
                sequence += 1
        whole = Patch(0, 0, decoder.final())
        yield _fragment(Kind.FINAL, whole, decoder, (index, 0, step, seed))

    def _decoder(self) -> StreamingDecoder:
        if self._mosaic is not None:
            return MosaicDecoder(self._mosaic)
        assert self._network is not None  # noqa: S101
        return JanusDecoder(self._network.model.vqmodel)


def _fragment(kind: Kind, patch: Patch, decoder: StreamingDecoder, place: tuple[int, int, int, int]) -> Fragment:
    index, sequence, step, seed = place
    return Fragment(
        kind=kind,
        index=index,
        sequence=sequence,
        x=patch.x,
        y=patch.y,
        canvas_width=decoder.width,
        canvas_height=decoder.height,
        step=step,
        steps=decoder.tokens,
        pixels=patch.pixels,
        seed=seed,
    )


def _sampling(params: GenerationParams, defaults: dict[str, float]) -> Sampling:
    return Sampling(
        temperature=defaults["temperature"] if params.temperature is None else params.temperature,
        guidance=defaults["guidance"] if params.guidance is None else params.guidance,
    )


def _read(
    folder: Path, device: Device, facts: CheckpointFacts
) -> tuple[JanusForConditionalGeneration, PreTrainedTokenizerBase]:
    """The network on its device, and its tokenizer; refuses a network of which parts are missing."""
    quiet(transformers)
    network, report = JanusForConditionalGeneration.from_pretrained(
        folder,
        dtype=choose_dtype(device),
        use_safetensors=True,
        local_files_only=True,
        variant=facts.variant,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise CheckpointError(f"The weights lack {len(report['missing_keys'])} parts of the network.")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return network.eval().to(device.torch), tokenizer
