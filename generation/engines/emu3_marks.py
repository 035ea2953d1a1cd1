"""The tokens of an Emu3 that stand for pictures: the codes themselves, and the marks around them."""

from dataclasses import dataclass

from transformers import Emu3ForConditionalGeneration, PreTrainedTokenizerBase

from generation.engines.errors import CheckpointError
from generation.engines.reading import AGAIN

CODES = r"<\|visual token \d{6}\|>"  # how the tokens of picture codes are written


@dataclass(frozen=True, slots=True)
class Marks:
    """Token numbers. A picture is `begin`, its size in words, `size_end`, rows of codes, `frame_end`, `end`.

    Every row is followed by `row_end`. Code c is token `first` + c, for `codes` codes. `place` holds the place of a
    code while a prompt is written.
    """

    begin: int
    size_end: int
    row_end: int
    frame_end: int
    end: int
    place: int
    first: int
    codes: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, network: Emu3ForConditionalGeneration) -> "Marks":
        """Raises CheckpointError when one is missing, or the network does not know it."""
        mapping = network.vocabulary_mapping
        numbers = mapping.img2bpe
        first = numbers.get(0, -1)
        if not numbers or any(numbers.get(code) != first + code for code in range(len(numbers))):
            raise CheckpointError("The checkpoint's picture codes are not in order.", hint=AGAIN)
        marks = cls(
            begin=_named(tokenizer, "boi_token_id", "the begin of a picture"),
            size_end=_named(tokenizer, "image_wrapper_token_id", "the end of a picture's size"),
            row_end=_required(mapping.eol_token_id, "the end of a row"),
            frame_end=_named(tokenizer, "eof_token_id", "the end of a frame"),
            end=_named(tokenizer, "eoi_token_id", "the end of a picture"),
            place=_named(tokenizer, "image_token_id", "the place of a picture"),
            first=first,
            codes=len(numbers),
        )
        highest = max(marks.all | {first + len(numbers) - 1})
        if highest >= network.config.text_config.vocab_size:
            raise CheckpointError(f"The checkpoint has a token {highest} that its network does not know.", hint=AGAIN)
        if marks.codes > network.config.vq_config.codebook_size:
            raise CheckpointError("The checkpoint has more codes than its picture decoder.", hint=AGAIN)
        return marks

    @property
    def all(self) -> frozenset[int]:
        """The marks alone."""
        return frozenset({self.begin, self.size_end, self.row_end, self.frame_end, self.end, self.place})

    def is_special(self, token: int) -> bool:
        """Whether it has a meaning in pictures."""
        return token in self.all or self.first <= token < self.first + self.codes


def _named(tokenizer: PreTrainedTokenizerBase, name: str, meaning: str) -> int:
    return _required(getattr(tokenizer, name, None), meaning)


def _required(token: int | None, meaning: str) -> int:
    if token is None:
        raise CheckpointError(f"The checkpoint does not say which token means {meaning}.", hint=AGAIN)
    return int(token)
