"""Words to token ids for Janus, in its chat form where the folder has one; the picture's places; words read back.

Our own starter takes words as they are, with a picture's places after them. Whoever speaks in chats is asked as
transformers' JanusProcessor does it: the template says where the picture stands, and the words may get a system prompt.

Nobody's words are taken for more than words: what looks like a special token is read as an unknown word.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import JanusConfig, PreTrainedTokenizerBase
from transformers.models.janus.processing_janus import DEFAULT_SYSTEM_PROMPT

from generation.engines.chat_template import chat_template_of
from generation.engines.errors import CheckpointError
from generation.engines.janus_words import LONGEST_ANSWER, LONGEST_CHAT
from generation.engines.reading import AGAIN, read_json
from generation.engines.special_words import special_words

QUESTION_ROOM = 256  # positions that an answer leaves to the question, where there are few


@dataclass(frozen=True, slots=True)
class Prompt:
    """`rows`: [1 or 2, length] ids, the second row for guidance. `truncated`: words were left out at the end.

    Where there is a picture to look at, the rows hold its placeholders.
    """

    rows: torch.Tensor
    truncated: bool


def places_of(config: JanusConfig) -> int:
    """How many features the vision tower makes of a picture, so how many placeholders stand for it."""
    vision = config.vision_config
    return int((vision.image_size // vision.patch_size) ** 2)


class PromptWriter:
    """How one checkpoint wants to be asked."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, config: JanusConfig, generation: Any) -> None:
        self._tokenizer = tokenizer
        self._positions = int(config.text_config.max_position_embeddings)
        self._template = chat_template_of(folder)
        self._system = DEFAULT_SYSTEM_PROMPT if _has_system_prompt(folder) else ""
        self._begin_image = _special(generation, tokenizer, "boi_token_id", "begin of image")
        self._begin = _first(generation.bos_token_id, tokenizer.bos_token_id, "begin of text")
        self._pad = _first(generation.pad_token_id, tokenizer.pad_token_id, "padding")
        self._generation = generation
        self._places = [int(config.image_token_id)] * places_of(config)
        self._foreign = special_words(tokenizer, [self._begin_image, int(config.image_token_id)])

    def draw(self, prompt: str, *, guided: bool, codes: int) -> Prompt:
        """Ask for a picture of `codes` codes."""
        return self._write(prompt, [self._begin_image], guided=guided, answer=codes)

    def edit(self, prompt: str, *, guided: bool, codes: int) -> Prompt:
        """Ask for the picture that is handed in, changed."""
        return self._write(prompt, [*self._look(), self._begin_image], guided=guided, answer=codes)

    def ask(self, prompt: str) -> Prompt:
        """Ask for an answer in words about the picture that is handed in."""
        if self._template:
            return self._write(prompt, [], guided=False, answer=self.longest_answer, sees=True)
        return self._write(prompt, self._look(), guided=False, answer=self.longest_answer)

    @property
    def longest_answer(self) -> int:
        """In tokens: whoever chats may say more, as far as positions are left."""
        left = self._positions - len(self._places) - QUESTION_ROOM
        return max(LONGEST_ANSWER, min(LONGEST_CHAT, left)) if self._template else LONGEST_ANSWER

    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        given = self._generation.eos_token_id
        listed = given if isinstance(given, list) else [_first(given, self._tokenizer.eos_token_id, "end of text")]
        return frozenset(map(int, listed))

    def read(self, tokens: list[int]) -> str:
        """The words of an answer."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _write(self, prompt: str, after: list[int], *, guided: bool, answer: int, sees: bool = False) -> Prompt:
        """Ids of the prompt and, when guided, of the same without its words: they are padding, a picture stays."""
        longest = min(self._positions - answer - len(after), int(self._tokenizer.model_max_length))
        words, truncated = self._cut(prompt, longest, sees=sees)
        rows = [[*words, *after]]
        if guided:
            empty = [token if token == self._begin else self._pad for token in words]
            rows.append([*empty, *after])
        return Prompt(torch.tensor(rows), truncated=truncated)

    def _cut(self, prompt: str, longest: int, *, sees: bool) -> tuple[list[int], bool]:
        """At most so many ids, and whether words were left out. The end of a chat must stay, so letters go before."""
        words = self._words(prompt, sees=sees)
        if len(words) <= longest or not self._template:
            return words[:longest], len(words) > longest
        fits, too_long = 0, len(prompt)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if len(self._words(prompt[:middle], sees=sees)) <= longest:
                fits = middle
            else:
                too_long = middle
        words = self._words(prompt[:fits], sees=sees)
        if len(words) > longest:
            raise CheckpointError(f"The checkpoint has no room for words: {longest} positions are left.", hint=AGAIN)
        return words, True

    def _words(self, prompt: str, *, sees: bool) -> list[int]:
        unknown = self._tokenizer.unk_token_id
        text = self._foreign.sub(lambda _: self._tokenizer.unk_token or " ", prompt)
        text = self._chat(text, sees=sees) if self._template else text
        ids = self._tokenizer(text, add_special_tokens=True).input_ids
        unknown = self._pad if unknown is None else unknown
        special = {self._begin_image, *self._places[:1]}  # for a tokenizer that changes letters before it looks
        picture = self._picture(ids) if sees else range(0)
        return [unknown if token in special and place not in picture else token for place, token in enumerate(ids)]

    def _look(self) -> list[int]:
        """The picture's places and their end, after the words."""
        if self._template:
            raise CheckpointError(
                "This checkpoint speaks in chats, in which Tessera cannot ask for a picture to be changed.",
                hint='Leave "edit" out of tessera.json.',
            )
        return [*self._places, self._end_image()]

    def _end_image(self) -> int:
        return _special(self._generation, self._tokenizer, "eoi_token_id", "end of image")

    def _picture(self, ids: list[int]) -> range:
        """Where the picture stands in a chat. Raises CheckpointError when the template gave it no place."""
        whole = [self._begin_image, *self._places, self._end_image()]
        starts = [place for place, token in enumerate(ids) if token == self._begin_image]
        found = [start for start in starts if ids[start : start + len(whole)] == whole]
        if not found:
            raise CheckpointError(
                "The checkpoint's chat template has no place for a picture.",
                hint='Write {"capabilities": []} into its tessera.json to only draw with it.',
            )
        return range(found[0], found[0] + len(whole))

    def _chat(self, prompt: str, *, sees: bool) -> str:
        shown = [{"type": "image"}] if sees else []
        messages = [{"role": "user", "content": [*shown, {"type": "text", "text": prompt}]}]
        text = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
        )
        begin = self._tokenizer.bos_token
        text = str(text).removeprefix(begin) if begin else str(text)  # the tokenizer puts it there itself
        if not sees:
            return text
        names = self._tokenizer.convert_ids_to_tokens([self._begin_image, *self._places, self._end_image()])
        return self._system + text.replace(names[1], "".join(names), 1)


def _has_system_prompt(folder: Path) -> bool:
    """Whether the folder's processor puts its own words before a question."""
    file = folder / "processor_config.json"
    return file.is_file() and read_json(file).get("use_default_system_prompt") is True


def _special(generation: Any, tokenizer: PreTrainedTokenizerBase, name: str, meaning: str) -> int:
    """Which token it is, from the generation config, else from the tokenizer."""
    extra = getattr(generation, "generation_kwargs", None) or {}
    return _first(extra.get(name), getattr(tokenizer, name, None), meaning)


def _first(given: int | None, fallback: int | None, meaning: str) -> int:
    for token in (given, fallback):
        if token is not None:
            return int(token)
    raise CheckpointError(f"The checkpoint does not say which token means {meaning}.", hint=AGAIN)
