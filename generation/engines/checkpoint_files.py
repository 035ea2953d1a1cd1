"""The files of a checkpoint folder: which there are, none that runs code, weights that are whole. No torch."""

import os
from collections.abc import Iterable
from pathlib import Path

from generation.engines.errors import CheckpointError
from generation.engines.mosaic import TABLES_FILE
from generation.engines.reading import AGAIN, Settings, read_json
from generation.engines.safetensors_header import check_safetensors

PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
WEIGHTS = ".safetensors"
HALF = ".fp16"  # in the names of weights in half precision


def files_of(folder: Path) -> list[Path]:
    """Every file below; refuses links that lead out, which a later change could point anywhere. Raises OSError."""
    root, found = folder.resolve(), []
    for place, folders, names in os.walk(folder, onerror=_fail):
        for file in (Path(place) / name for name in [*folders, *names]):
            if file.is_symlink() and not _stays_inside(file, root):
                raise CheckpointError(
                    f"{file.relative_to(folder)} is a link that leads out of the folder.",
                    hint="Copy the files themselves: cp -rL.",
                )
            if file.is_file():
                found.append(file)
    return sorted(found)


def refuse_code(folder: Path, files: Iterable[Path]) -> None:
    """Nothing that runs when it is loaded: Python files, and configs that name such."""
    for file in files:
        if file.suffix in {".py", ".pyc", ".so"}:
            raise CheckpointError(
                f"{file.relative_to(folder)} is program code; only weights and settings are loaded.",
                hint="Use a checkpoint whose classes come with diffusers or transformers.",
            )
        settings = file.name.endswith("config.json") or file.name == "model_index.json"
        if settings and _mentions(read_json(file), "auto_map"):
            raise CheckpointError(
                f"{file.relative_to(folder)} asks for code from elsewhere (auto_map).",
                hint="Use a checkpoint whose classes come with diffusers or transformers.",
            )


def weigh(folder: Path, files: Iterable[Path]) -> int:
    """Bytes of the weights in this very folder. Refuses pickles and damaged files."""
    here = [file for file in files if file.parent == folder]
    tensors = [file for file in here if file.suffix == WEIGHTS and file.name != TABLES_FILE]
    if not tensors:
        pickles = [file.name for file in here if file.suffix in PICKLES]
        kind = f"only pickled weights ({pickles[0]}), which can run code" if pickles else "no weights"
        raise CheckpointError(f"{folder.name} has {kind}.", hint="Use a checkpoint saved as safetensors.")
    for index in (file for file in here if file.name.endswith(".safetensors.index.json")):
        for shard in set(map(str, Settings(index).section("weight_map").values.values())):
            if folder / shard not in here:
                raise CheckpointError(f"{folder.name} lacks {shard}.", hint=AGAIN)
    plain = [file for file in tensors if HALF not in file.name]
    return sum(check_safetensors(file) for file in plain or tensors)


def variant_of(folder: Path) -> str | None:
    """The precision in the weights' names ("fp16"), when there are none without."""
    names = [file.name for file in folder.glob(f"*{WEIGHTS}") if file.name != TABLES_FILE]
    return "fp16" if names and all(HALF in name for name in names) else None


def _fail(error: OSError) -> None:
    raise error


def _stays_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except RuntimeError:  # a circle of links
        return False


def _mentions(value: object, key: str) -> bool:
    """Without recursion: the file is foreign and may be nested as deep as it likes."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if key in value:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False
