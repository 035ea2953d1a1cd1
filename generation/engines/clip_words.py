"""The words that CLIP knows: single files hold none, and nothing is fetched. No torch.

Every Stable Diffusion 1.5, SDXL and FLUX.1 was trained with the same ones, those of OpenAI's CLIP (MIT licence). They
are read from a `tokenizer` folder beside the file, else from the data of the package open_clip_torch, whose code is not
run.
"""

import gzip
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from generation.engines.errors import CheckpointError

BESIDE = "tokenizer"
NAMES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # in a folder as transformers saves it, now and before
PACKAGES = ("open_clip", "clip")  # as Python names them
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # of the many in the file those that CLIP was trained with
MOST_BYTES = 16 * 1024 * 1024  # of the file unpacked, which has about 3 MB
START, END = "<|startoftext|>", "<|endoftext|>"


def words_beside(file: Path) -> Path | None:
    """The `tokenizer` folder beside this file."""
    folder = file.parent / BESIDE
    return folder if any(all((folder / name).is_file() for name in names) for names in NAMES) else None


def packaged_merges() -> Path | None:
    """The file in an installed package, found without importing it."""
    for package in PACKAGES:
        spec = PathFinder.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (file := Path(folder) / MERGES_FILE).is_file():
                return file
    return None


def find_words(file: Path) -> Path:
    """Where the words for this file are: a folder, or the package's file. Raises CheckpointError when nowhere."""
    found = words_beside(file) or packaged_merges()
    if found is None:
        raise CheckpointError(
            f"{file.name} does not hold the words that its text encoder knows, and this machine has them nowhere else.",
            hint=f"Copy a folder named {BESIDE} (vocab.json and merges.txt) of any Stable Diffusion checkpoint to "
            f"{file.parent}, or install the package that has them: pip install --no-deps open_clip_torch.",
        )
    return found


def vocabulary(file: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words with their numbers, and which pairs are joined, first ones first, from the package's file.

    The numbers follow from the order: single letters, letters that end a word, joined pairs, the two marks.
    """
    merges = list(_merges(file))
    letters = list(_letters())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    return {word: number for number, word in enumerate(words)}, merges


def _merges(file: Path) -> Iterator[tuple[str, str]]:
    with gzip.open(file) as stream:
        text = stream.read(MOST_BYTES).decode("utf-8")
    lines = text.split("\n")[1 : MERGES + 1]  # the first is about the file
    for line in lines:
        first, _, second = line.partition(" ")
        yield first, second


def _letters() -> Iterator[str]:
    """One for each byte: itself where it can be printed, else one from beyond; in the order that CLIP counts them."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printed)
    yield from (chr(256 + number) for number in range(256 - len(printed)))
