"""Pictures from Emu3, code by code in any shape, and words about pictures: shown as they come."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
import transformers
from transformers import AutoTokenizer, Emu3ForConditionalGeneration, PreTrainedTokenizerBase

from generation.engines.base import CancelToken
from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.checkpoint_files import variant_of
from generation.engines.decoder import Patch, show_again
from generation.engines.device import Device
from generation.engines.emu3_core import Emu3Core
from generation.engines.emu3_decoder import Emu3Decoder
from generation.engines.emu3_loop import Sampling, draw_codes, say_words
from generation.engines.emu3_marks import Marks
from generation.engines.emu3_picture import Emu3PictureReader, codes_of
from generation.engines.emu3_prompt import Emu3PromptWriter, Grid, Prompt
from generation.engines.errors import CheckpointError
from generation.engines.fragments import Fragment, Kind, Note, Step, Words
from generation.engines.inspection import inspect_checkpoint, require_drawable
from generation.engines.janus_batch import fragment_of
from generation.engines.loading import bytes_of, dtype_to_read, quiet, require_complete, unusable
from generation.engines.multimodal_precision import reading_dtype, set_numbers
from generation.engines.params import QUESTION, CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, MemoryRung, Plan
from generation.engines.precision import Numbers, numbers_for
from generation.engines.products import Asked, Plain, maker_for
from generation.engines.weights import Weights

TOP = 2048  # codes to choose among, the likeliest ones, where the folder does not say


class Emu3Engine:
    """Emu3-Gen, Emu3-Chat, or one that is both."""

    rungs: tuple[MemoryRung, ...] = ("whole", "components", "sequential")

    def __init__(self, spec: CheckpointSpec) -> None:
        self.weights: Weights | None = None
        self.spec = spec
        self._device: Device | None = None
        self._facts: CheckpointFacts | None = None
        self._network: Emu3ForConditionalGeneration | None = None
        self._core: Emu3Core | None = None
        self._joins = False  # what draws is made of joined weights, and owns them
        self._marks: Marks | None = None
        self._writer: Emu3PromptWriter | None = None
        self._reader: Emu3PictureReader | None = None
        self._plan = AS_IS

    def load(self, device: Device, plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError."""
        numbers = numbers_for(device, plan.precision)
        folder = Path(self.spec.path)
        facts = inspect_checkpoint(folder)
        with device.memory_errors(f"loading {self.spec.name}"):
            with unusable(self.spec.name):
                network = _read(folder, numbers)
                tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, local_files_only=True))
                self._marks = Marks.of(tokenizer, network)
                self._writer = _writer(folder, tokenizer, self._marks, network, facts)
                self._reader = Emu3PictureReader(folder, network)
            self._network, self._device, self._plan = network, device, plan
            self.weights = _weights(network, device, numbers)
            self.weights.make, self.weights.unmake = self._make_core, self._drop_core
            self.weights.late = [network.model.text_model.layers]
            self.weights.arrange(plan.memory)
            self.weights.wake()
        self._facts = facts

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on; False when the weights must be read anew for it."""
        if plan.precision != self._plan.precision or self.weights is None:
            return False
        self._plan = plan
        self.weights.arrange(plan.memory)
        return True

    def _make_core(self) -> None:
        """What draws, of weights that are on the device. Parts that take turns must be asked, and are not packed."""
        assert self._network is not None and self._marks is not None and self.weights is not None  # noqa: S101
        if self._core is None:
            make = maker_for(self._network.lm_head.weight)
            self._joins = make is Plain
            turns = self._plan.uses("components")
            self._core = Emu3Core(self._network, self._marks, Asked if turns else self.weights.fetching(make))

    def _drop_core(self) -> None:
        self._core = None

    @property
    def made_bytes(self) -> int:
        """Of what was made of the weights, beside those that are left."""
        if self._core is None or self.weights is None:
            return 0
        return self._core.size_bytes + (self.weights.taken_bytes if self._joins else 0)

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Fragment | Note | Step | Words]:
        """Fragments of each picture, then its final; or words, the last time all of them. Raises EngineError."""
        if self._device is None or self._facts is None or self._network is None:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        require_drawable(self._facts, params)
        if params.capability == "describe":
            with self._device.memory_errors("describing"):
                yield from self._describe(params, cancel)
        elif params.codes:
            yield self._show_again(params)
        else:
            yield from self._draw_all(params, cancel)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        if self.weights is not None:
            self.weights.drop()
        self.weights = None
        self._network = self._core = self._marks = self._writer = self._reader = None

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        return 0 if self._network is None else bytes_of([self._network]) + self.made_bytes

    def _draw_all(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Fragment | Note | Step]:
        assert self._device is not None and self._writer is not None  # noqa: S101 generate has seen to it
        sampling = self._sampling(params)
        grid = self._grid(params)
        prompt = self._writer.draw(params.prompt, grid, guided=sampling.guided, negative=params.negative_prompt)
        if prompt.truncated:
            yield Note("prompt.truncated", "The prompt is longer than this checkpoint can read; its end was left out.")
        for index in range(params.count):
            with self._device.memory_errors("drawing"):
                yield from self._draw(prompt, grid, sampling, (index, params.seed + index), cancel)

    def _draw(
        self, prompt: Prompt, grid: Grid, sampling: Sampling, place: tuple[int, int], cancel: CancelToken
    ) -> Iterator[Fragment | Step]:
        """One picture; `place` is its index in the batch, and its seed."""
        assert self._device is not None and self._core is not None and self._marks is not None  # noqa: S101
        decoder, (index, seed), sequence = self._decoder(grid), place, 0
        generator = self._device.generator(seed)
        for step, code in enumerate(draw_codes(self._core, prompt, grid, self._marks, sampling, generator), start=1):
            cancel.raise_if_canceled()
            yield Step(index, step, decoder.tokens)
            patch = decoder.feed(code)
            if patch is not None:
                yield fragment_of(decoder, Kind.FRAGMENT, patch, seed=seed, place=(index, sequence))
                sequence += 1
        yield fragment_of(decoder, Kind.FINAL, Patch(0, 0, decoder.final()), seed=seed, place=(index, 0))

    def _show_again(self, params: GenerationParams) -> Fragment:
        """A picture that was drawn before, from its codes."""
        assert self._device is not None  # noqa: S101 generate has seen to it
        decoder = self._decoder(self._grid(params))
        with self._device.memory_errors("decoding"):
            whole = Patch(0, 0, show_again(decoder, params.codes))
        return fragment_of(decoder, Kind.FINAL, whole, seed=params.seed)

    def _describe(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Note | Step | Words]:
        """Greedy, so that the same picture always gets the same answer."""
        core, writer = self._core, self._writer
        assert core is not None and writer is not None and params.source is not None  # noqa: S101
        prompt = self._question(params.prompt.strip() or QUESTION, params.source)
        if prompt.truncated:
            yield Note("prompt.truncated", "The prompt is longer than this checkpoint can read; its end was left out.")
        said: list[int] = []
        for token in say_words(core, prompt, writer.ends(), writer.longest_answer):
            cancel.raise_if_canceled()
            said.append(token)
            yield Step(0, len(said), writer.longest_answer)
            yield Words(0, writer.read(said))
        cancel.raise_if_canceled()
        yield Words(0, writer.read(said), final=True)

    def _question(self, words: str, source: bytes) -> Prompt:
        """With the picture's codes in their places."""
        network, marks, writer, reader = self._network, self._marks, self._writer, self._reader
        assert network is not None and marks is not None and writer is not None and reader is not None  # noqa: S101
        pixels = reader.read(source, writer.picture_room)
        prompt = writer.ask(words, reader.grid_of(pixels))
        codes = codes_of(network.model.vqmodel, pixels).cpu() + marks.first
        ends = torch.full((len(codes), 1), marks.row_end)
        [row] = prompt.rows
        row[row == marks.place] = torch.cat((codes, ends), dim=1).flatten()
        return prompt

    def _sampling(self, params: GenerationParams) -> Sampling:
        assert self._facts is not None and self._network is not None  # noqa: S101 generate has seen to it
        defaults = self._facts.defaults
        return Sampling(
            temperature=defaults["temperature"] if params.temperature is None else params.temperature,
            guidance=defaults["guidance"] if params.guidance is None else params.guidance,
            top=self._network.generation_config.top_k or TOP,
        )

    def _grid(self, params: GenerationParams) -> Grid:
        assert self._network is not None  # noqa: S101 generate has seen to it
        scale = self._network.model.vqmodel.spatial_scale_factor
        return params.height // scale, params.width // scale

    def _decoder(self, grid: Grid) -> Emu3Decoder:
        """A new one, for one picture."""
        assert self._network is not None and self._reader is not None  # noqa: S101 generate has seen to it
        return Emu3Decoder(self._network.model.vqmodel, grid, self._reader.mean, self._reader.deviation)


def _weights(network: Emu3ForConditionalGeneration, device: Device, numbers: Numbers) -> Weights:
    """In the parts that take turns when memory is short: thinking, and the picture codes' own network."""
    brush = network.model.vqmodel
    thinking = [part for part in [*network.model.children(), network.lm_head] if part is not brush]
    parts = {"language": thinking, "decoder": [brush]}
    return Weights.of(device, parts, {"language": numbers.network, "decoder": numbers.decoder})


def _read(folder: Path, numbers: Numbers) -> Emu3ForConditionalGeneration:
    """The network, in RAM still; refuses one of which parts are missing."""
    quiet(transformers)
    network, report = Emu3ForConditionalGeneration.from_pretrained(
        folder,
        dtype=dtype_to_read(folder, reading_dtype(numbers)),
        use_safetensors=True,
        local_files_only=True,
        variant=variant_of(folder),
        output_loading_info=True,
    )
    require_complete(folder.name, report["missing_keys"])
    set_numbers(network, network.model.vqmodel, numbers)
    return network.eval()


def _writer(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    marks: Marks,
    network: Emu3ForConditionalGeneration,
    facts: CheckpointFacts,
) -> Emu3PromptWriter:
    """Tried out at once: a broken template or a foreign token shall be found before anybody waits for a picture."""
    positions = network.config.text_config.max_position_embeddings
    writer = Emu3PromptWriter(folder, tokenizer, marks, network.generation_config, positions)
    scale = network.model.vqmodel.spatial_scale_factor
    for width, height in facts.sizes:
        writer.draw("a picture", (height // scale, width // scale), guided=True)
    if "describe" in facts.capabilities:
        writer.ask(QUESTION, (1, writer.picture_room - 1))
        writer.ends()
    return writer
