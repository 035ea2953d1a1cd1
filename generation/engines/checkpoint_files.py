"""The files of a checkpoint folder: which there are, how much they weigh, weights that are whole. No torch."""

import os
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG

from generation.engines.errors import CheckpointError
from generation.engines.mosaic import TABLES_FILE
from generation.engines.reading import AGAIN, Settings
from generation.engines.safetensors_header import check_safetensors

WEIGHTS = ".safetensors"
HALF = ".fp16"  # in the names of weights in half precision
MOST_FILES = 2000  # of those in use the largest has about 200
UNREAD_FOLDERS = frozenset({".git", ".cache"})  # left by downloads; no library looks into them
UNREAD_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", ".gitattributes", ".gitignore"})


def files_of(folder: Path) -> list[Path]:
    """Every file below that may be read. Raises OSError.

    Refuses links that lead out, which a later change could point anywhere, and what is no ordinary file: reading
    from a pipe would wait for ever.
    """
    root, found = folder.resolve(), list[Path]()
    for place, folders, names in os.walk(folder, onerror=_fail):
        folders[:] = sorted(set(folders) - UNREAD_FOLDERS)
        for file in (Path(place) / name for name in [*folders, *names] if name not in UNREAD_FILES):
            _check_name(folder, file)
            if file.is_symlink():
                _check_link(folder, file, root)
            if file.name in folders:
                continue
            if not S_ISREG(file.stat().st_mode):
                raise CheckpointError(f"{shown(folder, file)} is no ordinary file.", hint="Remove it.")
            found.append(file)
            if len(found) > MOST_FILES:
                raise CheckpointError(
                    f"{folder.name} holds more than {MOST_FILES:,} files.", hint="Give the folder of one checkpoint."
                )
    return sorted(found)


def shown(folder: Path, file: Path) -> str:
    """A name for a sentence, whatever characters it has."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(file.relative_to(folder)))[:200]


def weigh(folder: Path, files: Iterable[Path]) -> int:
    """Bytes of the weights in this very folder. Refuses damaged files and indexes that name what is not there."""
    here = [file for file in files if file.parent == folder]
    tensors = weights_in(here)
    if not tensors:
        raise CheckpointError(f"{folder.name} has no weights.", hint="Use a checkpoint saved as safetensors.")
    for index in (file for file in here if is_index(file)):
        for shard in set(map(str, Settings(index).section("weight_map").values.values())):
            if folder / shard not in here:
                raise CheckpointError(f"{folder.name} lacks {shard[:200]}.", hint=AGAIN)
    return sum(check_safetensors(file) for file in tensors)


def weights_in(files: Iterable[Path]) -> list[Path]:
    """Those of these files, all of one folder, that are its weights: not those in half precision beside the whole."""
    tensors = [file for file in files if file.suffix == WEIGHTS and file.name != TABLES_FILE]
    return [file for file in tensors if HALF not in file.name] or tensors


def is_index(file: Path) -> bool:
    """Whether it tells which tensor is in which file."""
    return ".safetensors.index" in file.name and file.suffix == ".json"


def variant_of(folder: Path) -> str | None:
    """The precision in the weights' names ("fp16"), when there are none without."""
    names = [file.name for file in folder.glob(f"*{WEIGHTS}") if file.name != TABLES_FILE]
    return "fp16" if names and all(HALF in name for name in names) else None


def _fail(error: OSError) -> None:
    raise error


def _check_name(folder: Path, file: Path) -> None:
    if not file.name.isprintable():  # a line feed would forge a line of the sums; half characters are no text
        raise CheckpointError(f"The name {shown(folder, file)} has characters that no name needs.", hint="Rename it.")


def _check_link(folder: Path, link: Path, root: Path) -> None:
    try:
        inside = link.resolve(strict=True).is_relative_to(root)
    except (FileNotFoundError, RuntimeError, OSError):  # to nothing, or in a circle
        inside = False
    if not inside:
        raise CheckpointError(
            f"{shown(folder, link)} is a link that leads out of the folder.", hint="Copy the files themselves: cp -rL."
        )
    if link.is_dir():
        raise CheckpointError(
            f"{shown(folder, link)} is a link to a folder, and may lead in a circle.",
            hint="Copy the files themselves: cp -rL.",
        )
