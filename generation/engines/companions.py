"""What may lie beside a single .safetensors file and belongs to it: its own settings, the words it knows. No torch.

Files of one folder share them: a `tokenizer` folder serves every checkpoint beside it.
"""

from pathlib import Path

from generation.engines.checkpoint_files import files_of
from generation.engines.clip_words import words_beside
from generation.engines.errors import CheckpointError
from generation.engines.refusals import refuse_hostile

OWN_SUFFIX = ".tessera.json"  # in place of the file's own: sizes and defaults, as a folder's tessera.json


def own_file(file: Path) -> Path | None:
    """Where sizes and defaults stand, when they do."""
    own = file.with_suffix(OWN_SUFFIX)
    return own if own.is_file() else None


def files_with(file: Path) -> list[Path]:
    """The file and all that is read with it. Raises OSError, and CheckpointError as `files_of`."""
    own, words = own_file(file), words_beside(file)
    return [file, *([own] if own else []), *(files_of(words) if words else [])]


def refuse_hostile_companions(file: Path) -> None:
    """Raises CheckpointError with the reason when something beside the file must not be read."""
    for found in (own_file(file), words_beside(file)):
        if found is not None and found.is_symlink():
            raise CheckpointError(
                f"{found.name} beside {file.name} is a link.", hint="Copy the files themselves: cp -rL."
            )
    if words := words_beside(file):
        refuse_hostile(words, files_of(words))
    if own := own_file(file):
        refuse_hostile(file.parent, [own])
