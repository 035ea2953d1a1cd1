"""Words to token ids for Janus, in its chat form where the folder has one; the picture's places; words read back.

Nobody's words are taken for more than words: what looks like a special token is read as an unknown word.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import JanusConfig, PreTrainedTokenizerBase

from generation.engines.errors import CheckpointError
from generation.engines.reading import AGAIN, read_json


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
        self._template = _chat_template(folder, tokenizer)
        self._begin_image = _special(generation, tokenizer, "boi_token_id", "begin of image")
        self._begin = _first(generation.bos_token_id, tokenizer.bos_token_id, "begin of text")
        self._pad = _first(generation.pad_token_id, tokenizer.pad_token_id, "padding")
        self._generation = generation
        self._places = [int(config.image_token_id)] * places_of(config)
        self._foreign = _foreign(tokenizer, [self._begin_image, int(config.image_token_id)])

    def draw(self, prompt: str, *, guided: bool, codes: int) -> Prompt:
        """Ask for a picture of `codes` codes."""
        return self._write(prompt, [self._begin_image], guided=guided, answer=codes)

    def edit(self, prompt: str, *, guided: bool, codes: int) -> Prompt:
        """Ask for the picture that is handed in, changed."""
        return self._write(prompt, [*self._look(), self._begin_image], guided=guided, answer=codes)

    def ask(self, prompt: str, *, words: int) -> Prompt:
        """Ask for an answer of at most `words` tokens about the picture that is handed in."""
        return self._write(prompt, self._look(), guided=False, answer=words)

    def ends(self) -> frozenset[int]:
        """The tokens that end an answer."""
        given = self._generation.eos_token_id
        listed = given if isinstance(given, list) else [_first(given, self._tokenizer.eos_token_id, "end of text")]
        return frozenset(map(int, listed))

    def read(self, tokens: list[int]) -> str:
        """The words of an answer."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _write(self, prompt: str, after: list[int], *, guided: bool, answer: int) -> Prompt:
        """Ids of the prompt and, when guided, of the same without its words: they are padding, a picture stays."""
        longest = min(self._positions - answer - len(after), int(self._tokenizer.model_max_length))
        words = self._words(prompt)
        rows = [[*words[:longest], *after]]
        if guided:
            empty = [token if token == self._begin else self._pad for token in words[:longest]]
            rows.append([*empty, *after])
        return Prompt(torch.tensor(rows), truncated=len(words) > longest)

    def _words(self, prompt: str) -> list[int]:
        unknown = self._tokenizer.unk_token_id
        text = self._foreign.sub(lambda _: self._tokenizer.unk_token or " ", prompt)
        ids = self._tokenizer(self._chat(text) if self._template else text, add_special_tokens=True).input_ids
        unknown = self._pad if unknown is None else unknown
        special = {self._begin_image, *self._places[:1]}  # for a tokenizer that changes letters before it looks
        return [unknown if token in special else token for token in ids]

    def _look(self) -> list[int]:
        """The picture's places and their end. The chat form of Janus puts them elsewhere, which is not known yet."""
        if self._template:
            raise CheckpointError(
                "This checkpoint speaks in chats, in which Tessera cannot show it pictures yet.",
                hint='Leave its "capabilities" out of tessera.json.',
            )
        return [*self._places, _special(self._generation, self._tokenizer, "eoi_token_id", "end of image")]

    def _chat(self, prompt: str) -> str:
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
        )
        begin = self._tokenizer.bos_token
        return str(text).removeprefix(begin) if begin else str(text)  # the tokenizer puts it there itself


def _foreign(tokenizer: PreTrainedTokenizerBase, also: list[int]) -> re.Pattern[str]:
    """Finds every special token in a person's words, the unknown word excepted; the longest first."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    named = [str(word) for word in tokenizer.convert_ids_to_tokens(also) if word]
    found = {*tokenizer.all_special_tokens, *added, *named} - {tokenizer.unk_token}
    return re.compile("|".join(re.escape(word) for word in sorted(found, key=len, reverse=True)) or r"(?!)")


def _special(generation: Any, tokenizer: PreTrainedTokenizerBase, name: str, meaning: str) -> int:
    """Which token it is, from the generation config, else from the tokenizer."""
    extra = getattr(generation, "generation_kwargs", None) or {}
    return _first(extra.get(name), getattr(tokenizer, name, None), meaning)


def _first(given: int | None, fallback: int | None, meaning: str) -> int:
    for token in (given, fallback):
        if token is not None:
            return int(token)
    raise CheckpointError(f"The checkpoint does not say which token means {meaning}.", hint=AGAIN)


def _chat_template(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """From the tokenizer, or from the files where processors keep theirs."""
    if tokenizer.chat_template:
        return str(tokenizer.chat_template)
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if (folder / "chat_template.json").is_file():
        return str(read_json(folder / "chat_template.json").get("chat_template") or "") or None
    return None
