"""What a checkpoint folder must not hold: whatever runs, or leads elsewhere, when a library reads it. No torch.

The libraries guard against most of this themselves, and are set to (`room.OFFLINE`). A folder that tries is refused
all the same, before any library has seen it: next year's library may have next year's hole.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from generation.engines.checkpoint_files import WEIGHTS, is_index, shown
from generation.engines.errors import CheckpointError
from generation.engines.reading import Settings, read_bytes, read_json
from generation.engines.safetensors_header import SNIFFED, refuse_disguise

CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"})
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
VOCABULARIES = frozenset({"tokenizer.json", "vocab.json"})  # read by tokenizers, not by us
LONGEST = {".json": 64, ".txt": 64, ".model": 64, ".jinja": 1, ".tiktoken": 64}  # MB by suffix; Gemma's have 33
MEGABYTE = 1024 * 1024
STOCK = "Use a checkpoint whose classes come with diffusers or transformers."

# names in settings that make a library fetch or run something, and what they are about
ASKS_FOR_CODE = {
    "auto_map": "code from elsewhere",
    "trust_remote_code": "code from elsewhere",
    "custom_pipeline": "code from elsewhere",
    "custom_pipelines": "code from elsewhere",
    "custom_generate": "code from elsewhere",
    "_attn_implementation_internal": "compiled code from elsewhere",
    "_experts_implementation_internal": "compiled code from elsewhere",
    "_compatible_flash_implementations": "compiled code from elsewhere",
    "kernel_config": "compiled code from elsewhere",
    "use_kernels": "compiled code from elsewhere",
    "kernels": "compiled code from elsewhere",
}
IMPLEMENTATIONS = re.compile(r"_?(attn|experts)_implementation$")  # a name of the library's own, or of a repository
FILE_NAMES = re.compile(r"(vocab|merges|tokenizer|spm|added_tokens|chat_template)_files?$|^fast_tokenizer_files$")
# what a template reaches for that wants out of its sandbox
ESCAPES = re.compile(r"__[a-z]+__|\bf_globals\b|\bgi_frame\b|\bcr_frame\b|\bfunc_globals\b")


def refuse_hostile(folder: Path, files: Iterable[Path]) -> None:
    """Raises CheckpointError with the reason for the first file that must not be there, or says what it must not."""
    for file in files:
        _refuse_code(folder, file)
        _refuse_pickle(folder, file)
        _refuse_long(folder, file)
        if file.name == "adapter_config.json":
            raise CheckpointError(
                f"{shown(folder, file)} would lead to another checkpoint.", hint="Add its weights as a LoRA instead."
            )
        if file.suffix == ".jinja":
            _refuse_template(folder, file, read_bytes(file, MEGABYTE).decode("utf-8", "replace"))
        if is_index(file):
            _refuse_index(folder, file)
        elif file.suffix == ".json" and file.name not in VOCABULARIES:
            _refuse_settings(folder, file)


def _refuse_code(folder: Path, file: Path) -> None:
    if file.suffix.lower() in CODE:
        raise CheckpointError(
            f"{shown(folder, file)} is program code; only weights and settings are loaded.", hint=STOCK
        )


def _refuse_pickle(folder: Path, file: Path) -> None:
    """Beside good weights too: nobody reads it today, and that is no promise for tomorrow."""
    if file.suffix.lower() in PICKLES:
        raise CheckpointError(
            f"{shown(folder, file)} is a pickle, which can run code when it is read.",
            hint=f"Use a checkpoint saved as safetensors; where it has both, remove this file: rm '{file}'",
        )
    with file.open("rb") as stream:
        refuse_disguise(file, stream.read(SNIFFED))


def _refuse_long(folder: Path, file: Path) -> None:
    most = LONGEST.get(file.suffix.lower())
    if most is not None and file.stat().st_size > most * MEGABYTE:
        raise CheckpointError(
            f"{shown(folder, file)} has more than {most} MB, which is too long for its kind.", hint=STOCK
        )


def _refuse_settings(folder: Path, file: Path) -> None:
    values = read_json(file)
    for name, value in _named(values):
        if name in ASKS_FOR_CODE and value:
            raise CheckpointError(f"{shown(folder, file)} asks for {ASKS_FOR_CODE[name]} ({name}).", hint=STOCK)
        if name == "_class_name" and isinstance(value, list):
            raise CheckpointError(f"{shown(folder, file)}: its _class_name is a class of its own.", hint=STOCK)
        if IMPLEMENTATIONS.match(name) and _names_a_repository(value):
            raise CheckpointError(f"{shown(folder, file)} asks for compiled code from elsewhere ({name}).", hint=STOCK)
        if name == "quantization_config" and value:
            raise CheckpointError(
                f"{shown(folder, file)} says that the weights are quantised, which Tessera does not read.",
                hint="Use those in 16 or 32 bit; Tessera can make them smaller itself (--precision int8).",
            )
        if FILE_NAMES.search(name):
            _refuse_paths(folder, file, value)
        if name == "chat_template":
            for text in _texts(value):
                _refuse_template(folder, file, text)
    if file.name == "model_index.json":
        _refuse_parts(folder, values)


def _refuse_parts(folder: Path, index: dict[str, Any]) -> None:
    for name, entry in index.items():
        if isinstance(entry, list) and not (name.isascii() and name.isidentifier()):
            raise CheckpointError(f"model_index.json names the part {name[:80]!r}, which leads elsewhere.", hint=STOCK)
        if isinstance(entry, list) and len(entry) != 2 and (folder / name).is_dir():
            raise CheckpointError(f"model_index.json does not say what {name} is.", hint=STOCK)


def _refuse_index(folder: Path, file: Path) -> None:
    for shard in Settings(file).section("weight_map").values.values():
        if not isinstance(shard, str) or _leads_out(shard) or "/" in shard or not shard.endswith(WEIGHTS):
            raise CheckpointError(
                f"{shown(folder, file)} says that weights are in {str(shard)[:80]!r}, which is no file beside it.",
                hint=STOCK,
            )


def _refuse_paths(folder: Path, file: Path, value: object) -> None:
    for name in _texts(value):
        if _leads_out(name):
            raise CheckpointError(
                f"{shown(folder, file)} names the file {name[:80]!r}, which is not in its folder.",
                hint="Remove this entry from the file if it was left there by accident.",
            )


def _refuse_template(folder: Path, file: Path, text: str) -> None:
    if len(text) > MEGABYTE or (found := ESCAPES.search(text)):
        reason = "is too long" if len(text) > MEGABYTE else f"reaches for {found[0]}" if found else ""
        raise CheckpointError(f"The chat template in {shown(folder, file)} {reason}.", hint=STOCK)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or name[1:2] == ":" or "\0" in name


def _names_a_repository(value: object) -> bool:
    return any("/" in name for name in _texts(value))


def _texts(value: object) -> Iterator[str]:
    """Every text in a value, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _named(value: object) -> Iterator[tuple[str, Any]]:
    """Every name with its value, without recursion. Not those with a whole number: they are words of a vocabulary."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield from (item for item in value.items() if type(item[1]) is not int)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
