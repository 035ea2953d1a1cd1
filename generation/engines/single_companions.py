"""What lies beside a single .safetensors file and belongs to it: settings, words, parts that it lacks. No torch.

Files of one folder share them: a `tokenizer` folder serves every checkpoint beside it.
"""

from pathlib import Path

from generation.engines.checkpoint_files import WEIGHTS, files_of
from generation.engines.clip_words import words_beside
from generation.engines.errors import CheckpointError
from generation.engines.refusals import refuse_hostile
from generation.engines.safetensors_header import read_header
from generation.engines.single_layouts import layout_of

OWN_SUFFIX = ".tessera.json"  # in place of the file's own: sizes and defaults, as a folder's tessera.json


def own_file(file: Path) -> Path | None:
    """Where sizes and defaults stand, when they do."""
    own = file.with_suffix(OWN_SUFFIX)
    return own if own.is_file() else None


def companions(file: Path) -> list[Path]:
    """Files and folders. Raises OSError, and CheckpointError when it is no checkpoint that is read from one file."""
    if file.suffix != WEIGHTS:
        return []
    layout = layout_of(file, read_header(file).tensors)
    found = [own_file(file), words_beside(file), *layout.words, *layout.beside(file)]
    return [one for one in found if one is not None]


def files_with(file: Path) -> list[Path]:
    """The file and all that is read with it; just the file when it is no checkpoint, any more. Raises OSError."""
    try:
        beside = companions(file)
    except CheckpointError:
        beside = []
    found = [file]
    for one in beside:
        found += files_of(one) if one.is_dir() else [one]
    return found


def refuse_hostile_companions(file: Path) -> None:
    """Raises CheckpointError with the reason when something beside the file must not be read."""
    for found in companions(file):
        if found.is_symlink():
            raise CheckpointError(
                f"{found.name} beside {file.name} is a link.", hint="Copy the files themselves: cp -rL."
            )
        if found.is_dir():
            refuse_hostile(found, files_of(found))
        else:
            refuse_hostile(file.parent, [found])
