"""Pictures and words from Janus: code by code, word by word, shown as they come."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
import transformers
from transformers import AutoTokenizer, JanusForConditionalGeneration, PreTrainedTokenizerBase

from generation.engines.base import CancelToken, Item, Wish
from generation.engines.checkpoint_facts import CheckpointFacts
from generation.engines.checkpoint_files import variant_of
from generation.engines.decoder import DecoderParts, JanusDecoder, MosaicDecoder, Patch, StreamingDecoder, show_again
from generation.engines.device import Device
from generation.engines.errors import CheckpointError, DeviceMemoryError, EngineError, InvalidNumbersError
from generation.engines.fragments import Ended, Fragment, Kind, Note, Step, Words
from generation.engines.inspection import inspect_checkpoint, require_drawable
from generation.engines.int8 import INT8, Int8Product, works_in_int8
from generation.engines.janus_batch import Batch, Picture, fragment_of
from generation.engines.janus_core import JanusCore
from generation.engines.janus_loop import Sampling, Seat, look
from generation.engines.janus_picture import PictureReader
from generation.engines.janus_prompt import Prompt, PromptWriter, places_of
from generation.engines.janus_words import LONGEST_ANSWER, say_words
from generation.engines.loading import bytes_of, dtype_to_read, quiet, require_complete, unusable
from generation.engines.mosaic import LAYOUT_FILE, Mosaic
from generation.engines.multimodal_precision import reading_dtype, set_numbers
from generation.engines.params import QUESTION, CheckpointSpec, GenerationParams
from generation.engines.plan import AS_IS, MemoryRung, Plan
from generation.engines.precision import RUNGS, Numbers, numbers_for
from generation.engines.products import Asked, Plain, maker_for
from generation.engines.reading import AGAIN
from generation.engines.weights import Weights

SHORTEST = 16  # positions for words below which no prompt is worth drawing


class JanusEngine:
    """Janus, and our starter that is a Janus with a mosaic for its codebook."""

    rungs: tuple[MemoryRung, ...] = ("whole", "single", "components", "sequential")

    def __init__(self, spec: CheckpointSpec) -> None:
        self.weights: Weights | None = None
        self.spec = spec
        self._device: Device | None = None
        self._facts: CheckpointFacts | None = None
        self._network: JanusForConditionalGeneration | None = None
        self._core: JanusCore | None = None
        self._joins = False  # what draws is made of joined weights, and owns them
        self._writer: PromptWriter | None = None
        self._reader: PictureReader | None = None
        self._mosaic: Mosaic | None = None
        self._parts: DecoderParts | None = None
        self._draft: DecoderParts | None = None
        self._plan = AS_IS

    def load(self, device: Device, plan: Plan = AS_IS) -> None:
        """Read the weights and put them on `device`. Raises CheckpointError, DeviceMemoryError, InvalidNumbersError."""
        numbers = _numbers(device, plan)
        folder = Path(self.spec.path)
        facts = inspect_checkpoint(folder)
        with device.memory_errors(f"loading {self.spec.name}"):
            with unusable(self.spec.name):
                network = _read(folder, numbers)
                self._mosaic = Mosaic.load(folder) if (folder / LAYOUT_FILE).is_file() else None
                self._parts = DecoderParts.of(network.model.vqmodel)
                decoder = self._decoder()
                _require_fit(self.spec.name, network, decoder, facts)
                self._writer = _writer(folder, network, decoder, facts)
                self._reader = _reader(folder, network, facts)
            self._network, self._device, self._plan = network, device, plan
            self.weights = _weights(network, device, numbers)
            self.weights.make, self.weights.unmake = self._make_core, self._drop_core
            self.weights.late = [network.model.language_model.layers, network.model.generation_head]
            self.weights.arrange(plan.memory)
            self.weights.wake()
        self._facts = facts

    def adapt(self, plan: Plan) -> bool:
        """Draw by this plan from now on; False when the weights must be read anew. Raises InvalidNumbersError."""
        if self._device is not None:
            _numbers(self._device, plan)
        if plan.precision != self._plan.precision or self.weights is None:
            return False
        self._plan = plan
        self.weights.arrange(plan.memory)
        return True

    def _make_core(self) -> None:
        """What draws, of weights that are on the device. Parts that take turns must be asked, and are not packed."""
        assert self._device is not None and self._network is not None and self.weights is not None  # noqa: S101
        if self._core is None:
            turns = self._plan.uses("components")
            if self._device.kind == "cpu" and not turns:  # the order in which its convolutions are fastest
                self._network.model.vqmodel.decoder.to(memory_format=torch.channels_last)
            make = Int8Product if self._plan.precision == INT8 else maker_for(self._network.lm_head.weight)
            self._joins = make is Plain
            self._core = JanusCore(self._network, make=Asked if turns else self.weights.fetching(make))

    def _drop_core(self) -> None:
        if self._core is not None:
            self._core.retire()
        self._core = self._draft = None

    @property
    def made_bytes(self) -> int:
        """Of what was made of the weights, beside those that are left."""
        if self._core is None or self.weights is None:
            return 0
        return self._made() + (self.weights.taken_bytes if self._joins else 0)

    def _made(self) -> int:
        return sum(part.size_bytes for part in (self._core, self._draft) if part is not None)

    def generate(self, params: GenerationParams, cancel: CancelToken) -> Iterator[Item]:
        """Fragments of each picture, then its final; or words, the last time all of them. Raises EngineError.

        Several pictures are drawn side by side, unless the plan spares memory by drawing one at a time.
        """
        for _, item in self.generate_many([(params, cancel)]):
            if not isinstance(item, Ended):
                yield item
            elif item.error is not None:
                raise item.error

    def generate_many(
        self, wishes: Sequence[Wish], newcomers: Callable[[], Sequence[Wish]] = tuple
    ) -> Iterator[tuple[int, Item | Ended]]:
        """The same for many wishes side by side: items with the number of their wish, Ended as the last of each.

        `newcomers` is asked after every code for wishes that join, numbered on. What fails for one wish only is told
        by its Ended. Raises DeviceMemoryError for all of them.
        """
        if self._device is None or self._core is None:
            raise CheckpointError(f"{self.spec.name} is not loaded.")
        batch, number, waiting = Batch(self._core, single=self._plan.uses("single")), 0, list(wishes)
        while waiting or batch.pictures:
            for wish in waiting:
                yield from self._begin(batch, number, wish)
                number += 1
            with self._device.memory_errors("drawing"):
                yield from batch.step()
            waiting = list(newcomers())

    def _begin(self, batch: Batch, number: int, wish: Wish) -> Iterator[tuple[int, Item | Ended]]:
        """Seat the pictures of a wish; or tell all that there is to it."""
        before = len(batch.pictures)
        try:
            for item in self._prepare(number, *wish):
                if isinstance(item, Picture):
                    batch.pictures.append(item)
                else:
                    yield number, item
        except DeviceMemoryError:
            raise
        except EngineError as error:
            yield number, Ended(error)
            return
        if len(batch.pictures) == before:
            yield number, Ended()

    def _prepare(self, number: int, params: GenerationParams, cancel: CancelToken) -> Iterator[Item | Picture]:
        """What there is to say before anything is drawn, then the pictures to draw."""
        device, network, facts = self._device, self._network, self._facts
        assert device is not None and network is not None and facts is not None  # noqa: S101 generate_many has seen to it
        require_drawable(facts, params)
        if params.codes:
            yield self._show_again(params)
            return
        sampling = _sampling(params, facts.defaults)
        prompt = self._prompt(params, guided=sampling.guided)
        if prompt.truncated:
            yield Note("prompt.truncated", "The prompt is longer than this checkpoint can read; its end was left out.")
        picture = None if params.source is None or self._reader is None else self._reader.read(params.source)
        with device.memory_errors("looking at the picture"):
            seen = None if picture is None else look(network, picture)
        if params.capability == "describe":
            assert seen is not None  # noqa: S101 params have seen to it
            with device.memory_errors("describing"):
                yield from self._describe(prompt, seen, cancel)
            return
        for index in range(params.count):
            decoder, seed = self._decoder(streams=True), params.seed + index
            seat = Seat(prompt.rows, sampling, device.generator(seed), decoder.tokens, decoder.allowed, seen)
            yield Picture(number, index, seed, seat, decoder, cancel)

    def unload(self) -> None:
        """Drop every reference to tensors."""
        if self.weights is not None:
            self.weights.drop()
        self._network = self._core = self._writer = self._reader = self.weights = None
        self._mosaic = self._parts = self._draft = None

    def size_bytes(self) -> int:
        """Of the loaded weights."""
        if self._network is None:
            return 0
        return bytes_of([self._network]) + self._made()

    def _decoder(self, *, streams: bool = False) -> StreamingDecoder:
        """A new one, for one picture. What only fragments need is made with the first that `streams`."""
        if self._mosaic is not None:
            return MosaicDecoder(self._mosaic)
        assert self._parts is not None  # noqa: S101 set when loading
        if streams and self._draft is None and not self._plan.uses("components"):
            self._draft = self._parts.draft()
        return JanusDecoder(self._parts, draft=self._draft)

    def _prompt(self, params: GenerationParams, *, guided: bool) -> Prompt:
        assert self._network is not None and self._writer is not None  # noqa: S101 generate has seen to it
        if params.capability == "describe":
            return self._writer.ask(params.prompt.strip() or QUESTION)
        write = self._writer.edit if params.capability == "edit" else self._writer.draw
        return write(params.prompt, guided=guided, codes=self._decoder().tokens)

    def _show_again(self, params: GenerationParams) -> Fragment:
        """A picture that was drawn before, from its codes."""
        assert self._device is not None and self._network is not None  # noqa: S101 generate has seen to it
        decoder = self._decoder()
        with self._device.memory_errors("decoding"):
            whole = Patch(0, 0, show_again(decoder, params.codes))
        return fragment_of(decoder, Kind.FINAL, whole, seed=params.seed)

    def _describe(self, prompt: Prompt, seen: torch.Tensor, cancel: CancelToken) -> Iterator[Step | Words]:
        """Greedy, so that the same picture always gets the same answer."""
        assert self._core is not None and self._writer is not None  # noqa: S101 generate has seen to it
        said: list[int] = []
        longest = self._writer.longest_answer
        for token in say_words(self._core, prompt.rows, seen, self._writer.ends(), longest):
            cancel.raise_if_canceled()
            said.append(token)
            yield Step(0, len(said), longest)
            yield Words(0, self._writer.read(said))
        cancel.raise_if_canceled()
        yield Words(0, self._writer.read(said), final=True)


def _numbers(device: Device, plan: Plan) -> Numbers:
    """What the plan's precision means. Raises InvalidNumbersError, so that a wider one is tried."""
    if plan.precision != INT8:
        return numbers_for(device, plan.precision)
    if not (device.kind == "cpu" and works_in_int8()):
        raise InvalidNumbersError(
            "This device cannot calculate in int8.", hint="Set the checkpoint's precision to auto: int8 needs a CPU."
        )
    return RUNGS["fp32"]


def _weights(network: JanusForConditionalGeneration, device: Device, numbers: Numbers) -> Weights:
    """In the parts that take turns when memory is short: looking, thinking, painting."""
    inner = network.model
    eyes, brush = [inner.vision_model, inner.aligner], [inner.vqmodel]
    others = {id(part) for part in [*eyes, *brush]}
    thinking = [part for part in [*inner.children(), network.lm_head] if id(part) not in others]
    parts = {"vision": eyes, "language": thinking, "decoder": brush}
    return Weights.of(device, parts, dict.fromkeys(parts, numbers.network) | {"decoder": numbers.decoder})


def _reader(folder: Path, network: JanusForConditionalGeneration, facts: CheckpointFacts) -> PictureReader | None:
    """Only for those who look at pictures: what prepares them may be missing from the others' folders."""
    looks = facts.capabilities != ("text_to_image",)
    return PictureReader(folder, network.config.vision_config.image_size) if looks else None


def _sampling(params: GenerationParams, defaults: dict[str, float]) -> Sampling:
    return Sampling(
        temperature=defaults["temperature"] if params.temperature is None else params.temperature,
        guidance=defaults["guidance"] if params.guidance is None else params.guidance,
    )


def _read(folder: Path, numbers: Numbers) -> JanusForConditionalGeneration:
    """The network, in RAM still; refuses one of which parts are missing."""
    quiet(transformers)
    network, report = JanusForConditionalGeneration.from_pretrained(
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


def _require_fit(
    name: str, network: JanusForConditionalGeneration, decoder: StreamingDecoder, facts: CheckpointFacts
) -> None:
    """Raises CheckpointError when the network, its codes and its decoder are not made for each other."""
    codes = network.config.vq_config.num_embeddings
    most = max(decoder.allowed(position).stop for position in (0, decoder.tokens - 1))
    positions = network.config.text_config.max_position_embeddings
    if most > codes:
        raise CheckpointError(f"{name} has a mosaic of {most} codes for a network of {codes}.", hint=AGAIN)
    looks = facts.capabilities != ("text_to_image",)
    seen = places_of(network.config) if looks else 0
    answer = max(decoder.tokens, LONGEST_ANSWER) if "describe" in facts.capabilities else decoder.tokens
    if answer + seen + SHORTEST > positions:
        raise CheckpointError(
            f"{name} cannot hold a picture: {answer} codes or words"
            + (f", {seen} places of a picture to look at" if looks else "")
            + f" and a prompt need more than {positions} positions.",
            hint=AGAIN,
        )
    if (decoder.width, decoder.height) not in facts.sizes:
        raise CheckpointError(f"{name} draws {decoder.width}x{decoder.height}, but its config says else.", hint=AGAIN)


def _writer(
    folder: Path, network: JanusForConditionalGeneration, decoder: StreamingDecoder, facts: CheckpointFacts
) -> PromptWriter:
    """Tried out at once: a broken template or a foreign token shall be found before anybody waits for a picture."""
    tokenizer = cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, local_files_only=True))
    writer = PromptWriter(folder, tokenizer, network.config, network.generation_config)
    tried = [writer.draw("a picture", guided=True, codes=decoder.tokens)]
    if "edit" in facts.capabilities:
        tried.append(writer.edit("a picture", guided=True, codes=decoder.tokens))
    if "describe" in facts.capabilities:
        tried.append(writer.ask(QUESTION))
        writer.ends()
    highest = max(int(prompt.rows.max()) for prompt in tried)
    if highest >= network.config.text_config.vocab_size:
        raise CheckpointError(f"{folder.name} has a token {highest} that its network does not know.", hint=AGAIN)
    return writer
