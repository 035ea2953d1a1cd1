"""Nobody's words are taken for more than words: finds what a tokenizer would read as one of its special tokens."""

import re
from collections.abc import Collection

from transformers import PreTrainedTokenizerBase


def special_words(
    tokenizer: PreTrainedTokenizerBase, also: Collection[int] = (), alike: Collection[str] = ()
) -> re.Pattern[str]:
    """Matches every special token in a person's words, the unknown word excepted; the longest first.

    `also`: more tokens, by number. `alike`: patterns for families of tokens too large to be listed one by one.
    """
    families = [re.compile(pattern) for pattern in alike]
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    named = [str(word) for word in tokenizer.convert_ids_to_tokens(list(also)) if word]
    found = {*tokenizer.all_special_tokens, *added, *named} - {tokenizer.unk_token}
    single = [word for word in found if not any(family.fullmatch(word) for family in families)]
    patterns = [*alike, *(re.escape(word) for word in sorted(single, key=len, reverse=True))]
    return re.compile("|".join(patterns) or r"(?!)")
