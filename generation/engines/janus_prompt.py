"""Words to token ids for Janus: its chat form where the folder has one, and the row for guidance without words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from generation.engines.errors import CheckpointError
from generation.engines.reading import AGAIN, read_json


@dataclass(frozen=True, slots=True)
class Prompt:
    """`rows`: [1 or 2, length] ids, the second row for guidance. `truncated`: words were left out at the end."""

    rows: torch.Tensor
    truncated: bool


class PromptWriter:
    """How one checkpoint wants to be asked for a picture."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerBase, generation_config: Any, longest: int) -> None:
        self._tokenizer = tokenizer
        self._longest = min(longest, int(tokenizer.model_max_length))
        self._template = _chat_template(folder, tokenizer)
        extra = getattr(generation_config, "generation_kwargs", None) or {}
        self._begin_image = _first(
            extra.get("boi_token_id"), getattr(tokenizer, "boi_token_id", None), "begin of image"
        )
        self._begin = _first(generation_config.bos_token_id, tokenizer.bos_token_id, "begin of text")
        self._pad = _first(generation_config.pad_token_id, tokenizer.pad_token_id, "padding")

    def write(self, prompt: str, *, guided: bool) -> Prompt:
        """Ids of the prompt and, when guided, of the same without its words (every one of them is padding)."""
        text = self._chat(prompt) if self._template else prompt
        ids = list(self._tokenizer(text, add_special_tokens=True).input_ids)
        truncated = len(ids) >= self._longest
        ids = [*ids[: self._longest - 1], self._begin_image]
        rows = [ids]
        if guided:
            kept = {self._begin, self._begin_image}
            rows.append([token if token in kept else self._pad for token in ids])
        return Prompt(torch.tensor(rows), truncated)

    def _chat(self, prompt: str) -> str:
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        text = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
        )
        begin = self._tokenizer.bos_token
        return str(text).removeprefix(begin) if begin else str(text)  # the tokenizer puts it there itself


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
