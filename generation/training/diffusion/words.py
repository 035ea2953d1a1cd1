"""The starter's tokenizer: CLIP's own byte-level scheme with a small vocabulary, so any text at all is accepted.

Words of the world are one token each; everything else falls apart into pieces of a letter or more. It is built once
and then kept beside the checkpoints, because the numbers of its tokens are part of the weights: nouns that are added
later are spelled from pieces, and can still be learned. Must not depend on training progress.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from generation.training.world import all_words

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 32  # tokens: the longest caption has about 24 words
LARGEST = 2048  # rows of the embedding table; the words of the world need about 1,600


def pieces(texts: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte pairs, merged until every word of the texts is whole."""
    words = sorted({word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())})
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=LARGEST - 2 - len(letters),
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        show_progress=False,
    )
    learner.train_from_iterator(words, trainer)
    learned = json.loads(learner.to_str())["model"]
    tokens = sorted(learned["vocab"], key=learned["vocab"].get)
    # a byte may also end a word, whether or not the training words show it there
    tokens += [letter + "</w>" for letter in letters if letter + "</w>" not in learned["vocab"]]
    return {token: number for number, token in enumerate([*tokens, START, END])}, [
        (left, right) for left, right in learned["merges"]
    ]


def build() -> CLIPTokenizer:
    vocabulary, merges = pieces(all_words())
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """The one beside the checkpoints, built when there is none yet."""
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        build().save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
