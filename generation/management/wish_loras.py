"""`--lora PATH[:WEIGHT]` of `manage.py generate`: which files, how strongly, what they hold; before a room opens."""

from collections.abc import Iterable
from pathlib import Path

from generation.engines.errors import InvalidParamsError
from generation.engines.inspect_lora import inspect_lora, sha256_of
from generation.engines.params import Lora


def read_loras(given: Iterable[str]) -> tuple[Lora, ...]:
    """Each with its hash, which the recipe names and the room checks. Raises InvalidParamsError."""
    return tuple(_read_lora(text) for text in given)


def _read_lora(text: str) -> Lora:
    path, weight = _split(text)
    inspect_lora(path)
    file = Path(path).resolve()
    return Lora(file.stem, str(file), weight, sha256_of(file))


def _split(text: str) -> tuple[str, float]:
    """A colon may belong to the file's name, so a file that is there goes first."""
    path, colon, weight = text.rpartition(":")
    if not colon or Path(text).is_file():
        return text, 1.0
    try:
        return path, float(weight)
    except ValueError:
        raise InvalidParamsError(
            f"The LoRA's weight is '{weight}', which is no number.", hint="Write it as --lora style.safetensors:0.8."
        ) from None
