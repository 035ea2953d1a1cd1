"""Words to token ids for Emu3, as transformers' Emu3Processor writes them: to draw, or to ask about a picture.

To draw: the words, then the begin of a picture with its size. To ask: the folder's chat template, in which the picture
is a run of places that its own codes fill later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from generation.engines.chat_template import chat_template_of
from generation.engines.emu3_marks import CODES, Marks
from generation.engines.errors import CheckpointError
from generation.engines.janus_words import LONGEST_ANSWER, LONGEST_CHAT
from generation.engines.reading import AGAIN
from generation.engines.special_words import special_words

SYSTEM = "You are a helpful assistant."  # what Chat was trained to read before a question
QUESTION_ROOM = 256  # positions for a question, of those that a picture to look at leaves
Grid = tuple[int, int]  # rows and columns of codes


@dataclass(frozen=True, slots=True)
class Prompt:
    """`rows`: ids, each of its own length; the second row is for guidance. `truncated`: words were left out."""

    rows: tuple[torch.Tensor, ...]
    truncated: bool


class Emu3PromptWriter:
    """How one checkpoint wants to be asked."""

    def __init__(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase, marks: Marks, generation: Any, positions: int
    ) -> None:
        self._tokenizer = tokenizer
        self._marks = marks
        self._positions = positions
        self._template = chat_template_of(folder)
        self._generation = generation
        self._begin = tokenizer.bos_token or ""
        pad = generation.pad_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        if pad is None:
            raise CheckpointError("The checkpoint does not say which token means padding.", hint=AGAIN)
        self._pad = int(pad)
        self._foreign = special_words(tokenizer, marks.all, (CODES,))

    def draw(self, prompt: str, grid: Grid, *, guided: bool, negative: str = "") -> Prompt:
        """Ask for a picture; when guided, a second row asks for one without words, or with those to be avoided."""
        longest = self._positions - grid[0] * (grid[1] + 1)
        row, truncated = self._cut(prompt, longest, lambda words: self._drawing(words, grid))
        if not guided:
            return Prompt((torch.tensor(row),), truncated)
        other, also = self._cut(negative, longest, lambda words: self._drawing(words, grid))
        return Prompt((torch.tensor(row), torch.tensor(other)), truncated or also)

    def ask(self, question: str, grid: Grid) -> Prompt:
        """Ask for an answer in words about a picture of so many codes, for which the row holds places."""
        longest = self._positions - self.longest_answer
        row, truncated = self._cut(question, longest, lambda words: self._asking(words, grid))
        return Prompt((torch.tensor(row),), truncated)

    @property
    def longest_answer(self) -> int:
        """In tokens."""
        return max(LONGEST_ANSWER, min(LONGEST_CHAT, self._positions // 4))

    @property
    def picture_room(self) -> int:
        """Positions that a picture to look at may take."""
        return self._positions - self.longest_answer - min(QUESTION_ROOM, self._positions // 4)

    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        given = self._generation.eos_token_id
        given = self._tokenizer.eos_token_id if given is None else given
        if given is None:
            raise CheckpointError("The checkpoint does not say which token means end of text.", hint=AGAIN)
        return frozenset(map(int, given if isinstance(given, list) else [given]))

    def read(self, tokens: list[int]) -> str:
        """The words of an answer."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _cut(self, words: str, longest: int, write: Callable[[str], list[int]]) -> tuple[list[int], bool]:
        """Ids of at most this length, and whether letters had to be left out for it: what follows words must stay."""
        words = self._foreign.sub(lambda _: self._tokenizer.unk_token or " ", words)
        ids = write(words)
        if len(ids) <= longest:
            return ids, False
        fits, too_long = 0, len(words)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if len(write(words[:middle])) <= longest:
                fits = middle
            else:
                too_long = middle
        ids = write(words[:fits])
        if len(ids) > longest:
            raise CheckpointError(f"The checkpoint has no room for words: {longest} positions are left.", hint=AGAIN)
        return ids, True

    def _drawing(self, words: str, grid: Grid) -> list[int]:
        begin, size_end = self._names(self._marks.begin, self._marks.size_end)
        size = f"{begin}{grid[0]}*{grid[1]}{size_end}"
        ids = self._ids(f"{self._begin}{words}{size}")
        return self._plain(ids, range(len(ids) - len(self._ids(size)), len(ids)))

    def _asking(self, words: str, grid: Grid) -> list[int]:
        marks = self._marks
        begin, size_end, place, frame_end, end = self._names(
            marks.begin, marks.size_end, marks.place, marks.frame_end, marks.end
        )
        places = grid[0] * (grid[1] + 1)
        picture = f"{begin}{grid[0]}*{grid[1]}{size_end}{place * places}{frame_end}{end}"
        asked = self._chat(words)
        ids = self._ids(f"{self._begin}{asked.replace(place, picture, 1)}")
        whole = self._ids(picture)
        starts = [start for start, token in enumerate(ids) if token == marks.begin]
        found = [start for start in starts if ids[start : start + len(whole)] == whole]
        if not found:
            raise CheckpointError(
                "The checkpoint's chat template has no place for a picture.",
                hint='Write {"capabilities": ["text_to_image"]} into its tessera.json to only draw with it.',
            )
        return self._plain(ids, range(found[0], found[0] + len(whole)))

    def _chat(self, words: str) -> str:
        messages = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]},
        ]
        text = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
        )
        return str(text).removeprefix(self._begin) if self._begin else str(text)

    def _ids(self, text: str) -> list[int]:
        """Without what the tokenizer adds by itself: the begin of text is written out already."""
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _names(self, *tokens: int) -> list[str]:
        return [str(name) for name in self._tokenizer.convert_ids_to_tokens(list(tokens))]

    def _plain(self, ids: list[int], meant: range) -> list[int]:
        """The same, with padding for what means pictures elsewhere: a tokenizer may change letters before it looks."""
        special = self._marks.is_special
        return [self._pad if special(token) and place not in meant else token for place, token in enumerate(ids)]
