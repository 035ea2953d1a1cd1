"""The starter's tokenizer: CLIP's own byte-level scheme with a small vocabulary, so any text at all is accepted.

Words of the world are one token each; everything else falls apart into pieces of a letter or more. It is built once
and then kept beside the checkpoints, because the numbers of its tokens are part of the weights: nouns that are added
later are spelled from pieces, and can still be learned. Must not depend on training progress.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from generation.training.folders import draft_of, replace_folder
from generation.training.world import all_words

WORD_END = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 32  # tokens: the longest caption has about 24 words
LARGEST = 2048  # rows of the embedding table; the words of the world need about 1,600


def pieces(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte pairs, merged until every word of the texts is whole: the most frequent first, ties by the alphabet.

    Our own loop because the library's trainer breaks ties differently in every process, and tokens are numbered.
    """
    words = sorted({word for text in texts for word in re.findall(r"[a-z]+", text.lower())})
    split = [[*word[:-1], word[-1] + WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in split for pair in pairwise(word)):
        merge = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(merge)
        split = [_merged(word, merge) for word in split]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [
        *letters,
        *(letter + WORD_END for letter in letters),
        *dict.fromkeys(left + right for left, right in merges),
    ]
    return {token: number for number, token in enumerate([*tokens, START, END])}, merges


def _merged(word: list[str], merge: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for piece in word:
        if joined and (joined[-1], piece) == merge:
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def build() -> CLIPTokenizer:
    vocabulary, merges = pieces(all_words())
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """The one beside the checkpoints, built when there is none yet."""
    if not (folder / "tokenizer.json").exists():
        draft = draft_of(folder)
        build().save_pretrained(draft)
        replace_folder(draft, folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
