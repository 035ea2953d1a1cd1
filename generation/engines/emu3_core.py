"""The parts of an Emu3 that draw and speak, made ready once: its language model, and the two heads that score tokens.

Once made, the network's own language model may have no weights any more (products.py): use this instead of it.
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import Emu3ForConditionalGeneration

from generation.engines.emu3_marks import Marks
from generation.engines.llama import Language, Memory, language_of
from generation.engines.products import Asked, Maker, maker_for


class Emu3Core:
    """Reads prompts, each into a memory of its own; then takes tokens, for all of them at once."""

    def __init__(self, network: Emu3ForConditionalGeneration, marks: Marks, make: Maker | None = None) -> None:
        make = make or maker_for(network.lm_head.weight)
        self._network, self._marks = network, marks
        with torch.inference_mode():
            self._language: Language = language_of(network.model.text_model, make)
            # weights that are fetched when they are asked for are asked for as a whole
            self._codes = None if make is Asked else make([_part(network.lm_head, marks.first, marks.codes)])
        self.size_bytes = self._language.size_bytes + (0 if self._codes is None else self._codes.size_bytes)

    def read(self, rows: Sequence[torch.Tensor], answer: int) -> tuple[torch.Tensor, list[Memory]]:
        """[rows, width], what follows each of these prompts; and memories with room for an answer of that length."""
        memories = [self._language.remember(1, len(row) + answer) for row in rows]
        found = [self._language.read(self._embed(row[None]), one) for row, one in zip(rows, memories, strict=True)]
        return torch.cat(found), memories

    def step(self, token: int, memories: Sequence[Memory]) -> torch.Tensor:
        """The same after one token more for each of them."""
        return self._language.step(self._embed(torch.full((len(memories),), token)), memories)

    def score_codes(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, codes]: of a vocabulary five times as large, only what a picture can go on with."""
        if self._codes is not None:
            return self._codes(hidden)
        return self.score_words(hidden)[:, self._marks.first : self._marks.first + self._marks.codes]

    def score_words(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, tokens]"""
        scores: torch.Tensor = self._network.lm_head(hidden)
        return scores

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self._network.get_input_embeddings()(tokens.to(self._network.device))
        return vectors


def _part(head: nn.Linear, first: int, count: int) -> nn.Linear:
    """The rows of a head that score some neighbouring tokens, as a layer that shares its weights."""
    part = nn.Linear(head.in_features, count, bias=False, device="meta")
    part.weight = nn.Parameter(head.weight.detach()[first : first + count], requires_grad=False)
    return part
