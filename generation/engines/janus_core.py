"""The parts of a Janus that draw, made ready once: its language model, the head that scores codes, a vector a code.

Once made, the network's own language model may have no weights any more (products.py): use this instead of it.
"""

from collections.abc import Sequence

import torch
from transformers import JanusForConditionalGeneration
from transformers.models.janus.modeling_janus import JanusVQVAEHead

from generation.engines import heap
from generation.engines.int8 import Int8Product
from generation.engines.llama import Language, Memory, language_of
from generation.engines.products import Maker, maker_for

CHUNK = 1024  # codes whose vectors are made at once


class JanusCore:
    """Reads words, steps codes, scores the next ones."""

    def __init__(
        self, network: JanusForConditionalGeneration, *, int8: bool = False, make: Maker | None = None
    ) -> None:
        make = make or (Int8Product if int8 else maker_for(network.lm_head.weight))
        self.network = network
        self._vectors: torch.Tensor | None = None  # made with the first code: who only describes needs none
        with torch.inference_mode():
            self._language: Language = language_of(network.model.language_model, make)
            self._head = _Head(network.model.generation_head, make)
        width = network.config.text_config.hidden_size
        vectors = network.config.vq_config.num_embeddings * width * network.lm_head.weight.itemsize
        self.size_bytes = vectors + self._language.size_bytes + self._head.size_bytes

    def retire(self) -> None:
        """It is not used any more, nor are its products: its memory is kept for who comes next (heap.py)."""
        if self._vectors is not None and self._vectors.device.type == "cpu":
            heap.shelve(self._vectors, self._vectors.data_ptr(), self._vectors.nbytes)

    def remember(self, rows: int, length: int) -> Memory:
        """Room for rows of at most this length, words and codes."""
        return self._language.remember(rows, length)

    def read(self, rows: torch.Tensor, memory: Memory, seen: torch.Tensor | None = None) -> torch.Tensor:
        """[rows, length] words into a fresh memory; [rows, width], what follows the last one."""
        return self._language.read(embed(self.network, rows, seen), memory)

    def step(self, codes: Sequence[int], memories: Sequence[Memory]) -> torch.Tensor:
        """One code more for each memory, the same for all of its rows."""
        rows = [code for code, memory in zip(codes, memories, strict=True) for _ in range(memory.rows)]
        if self._vectors is None:
            self._vectors = _vectors(self.network)
        vectors = self._vectors.index_select(0, torch.tensor(rows, device=self._vectors.device))
        return self._language.step(vectors, memories)

    def say(self, word: int, memory: Memory) -> torch.Tensor:
        """One word more."""
        rows = torch.full((memory.rows, 1), word)
        return self._language.step(embed(self.network, rows, None)[:, 0], [memory])

    def score_codes(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, codes]"""
        return self._head(hidden)

    def score_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, words]"""
        scores: torch.Tensor = self.network.lm_head(hidden)
        return scores


class _Head:
    """From what the language model thinks to a score for every code."""

    def __init__(self, head: JanusVQVAEHead, make: Maker) -> None:
        self._first, self._last, self._between = make([head.proj_out]), make([head.vision_head]), head.activation_fn
        self.size_bytes = self._first.size_bytes + self._last.size_bytes

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._last(self._between(self._first(hidden)))


def embed(network: JanusForConditionalGeneration, rows: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Words as vectors, and in every row the picture's features where its placeholders stand."""
    rows = rows.to(network.device)
    words: torch.Tensor = network.get_input_embeddings()(rows)
    if seen is None:
        return words
    places = (rows == network.config.image_token_id).unsqueeze(-1)
    return words.masked_scatter(places, seen.to(words.dtype).expand(len(rows), -1, -1))


def _vectors(network: JanusForConditionalGeneration) -> torch.Tensor:
    """What the language model is given for each code: looked up, so that a code's vector is the same in any company."""
    codes = torch.arange(network.config.vq_config.num_embeddings, device=network.device)
    first, *others = torch.split(codes, CHUNK)
    made = network.prepare_embeddings_for_image_generation(first)
    heap.free_for(len(codes) * made.shape[1] * made.itemsize)
    vectors: torch.Tensor = made.new_empty(len(codes), made.shape[1])
    vectors[: len(made)] = made
    for part in others:
        vectors[int(part[0]) : int(part[-1]) + 1] = network.prepare_embeddings_for_image_generation(part)
    return vectors
