"""The starter's tokenizer: one token a word, lower case, over the words of the world; anything else is <unk>.

Written as a stock fast tokenizer, so that AutoTokenizer loads it offline. Its special tokens carry the names that
Janus' processor looks for. Must stay append-only once a checkpoint exists: word numbers are rows of its weights.
"""

import re
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNK, BOI, EOI, IMAGE = range(7)
SPECIAL = (
    "<pad>",
    "<bos>",
    "<eos>",
    "<unk>",
    "<begin_of_image>",
    "<end_of_image>",
    "<image_placeholder>",
)
ROOM = 1024  # rows of the embedding: words of today plus room for new nouns without touching the weights' shapes
LONGEST = 64  # tokens of a prompt; what is longer is cut by the tokenizer


def words_of(texts: Iterable[str]) -> list[str]:
    """The distinct words, in order of appearance, split as the tokenizer splits them."""
    found: dict[str, None] = {}
    for text in texts:
        found.update(dict.fromkeys(re.findall(r"\w+|[^\w\s]+", text.lower())))
    return list(found)


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Word level, with <bos> in front; the caller adds <begin_of_image> to ask for a picture."""
    words = [*SPECIAL, *words_of(texts)]
    if len(words) > ROOM:
        raise ValueError(f"{len(words)} words do not fit into {ROOM} rows: make ROOM larger and train anew.")
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=SPECIAL[UNK]))
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # joins words with spaces
    inner.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BOS]} $A", special_tokens=[(SPECIAL[BOS], BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[EOS],
        unk_token=SPECIAL[UNK],
        extra_special_tokens={
            "boi_token": SPECIAL[BOI],
            "eoi_token": SPECIAL[EOI],
            "image_token": SPECIAL[IMAGE],
        },
        padding_side="left",
        truncation_side="right",
        model_max_length=LONGEST,
    )
