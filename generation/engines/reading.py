"""Reading what others wrote: settings files of a checkpoint, and whose fault it is when that fails. No torch.

A file that is damaged, missing or forbidden makes the checkpoint unusable (CheckpointError). A machine that has no
descriptor left, or whose disk fails, says nothing about the checkpoint (FilesUnavailableError): try again later.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from generation.engines.errors import CheckpointError, FilesUnavailableError

AGAIN = "Fetch the checkpoint again."
LONGEST_FILE = 16 * 1024 * 1024  # of settings; the longest in use has about 8 MB (a vocabulary inside a config)
MOST_VALUES = 1_000_000  # commas and brackets of one file
MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT})
RUST = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers tell the number only in words


def machine_fault(error: BaseException | None) -> str | None:
    """What the machine lacked, in words, when this error or one behind it comes from that; else None."""
    while error is not None:
        told = RUST.search(str(error))
        number = error.errno if isinstance(error, OSError) else None
        number = int(told.group(1)) if number is None and told else number
        if number in MACHINE:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Around looking at the files of `name`. Raises CheckpointError or FilesUnavailableError instead of OSError."""
    try:
        yield
    except OSError as error:
        if fault := machine_fault(error):
            raise unavailable(name, fault) from error
        file = Path(str(error.filename)).name if error.filename else "a file"
        raise CheckpointError(
            f"{name} cannot be read: {file}: {error.strerror or error}.",
            hint="Give the user that runs Tessera the right to read every file in it.",
        ) from error


def unavailable(name: str, fault: str) -> FilesUnavailableError:
    """The error for a machine that could not read."""
    return FilesUnavailableError(
        f"{name} could not be read just now: {fault}.", hint="Try again; if it happens often, tell an operator."
    )


class UnreadableError(ValueError):
    """JSON that is none, or more of it than is read."""


def parse_json(data: bytes, *, most_values: int = MOST_VALUES, twice: bool = True) -> Any:
    """Raises UnreadableError. Counts before it parses, so that a small file never becomes a lot of memory.

    `twice` lets a name stand twice in one object, of which the last counts, as in every library.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > most_values:
        raise UnreadableError(f"it holds more than {most_values:,} values")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=None if twice else _unique)
    except UnreadableError:
        raise
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except ValueError as error:
        raise UnreadableError("it is no JSON") from error
    return value


def read_bytes(file: Path, most: int = LONGEST_FILE) -> bytes:
    """The whole of a small file. Raises CheckpointError when it is longer than `most`."""
    place = f"{file.parent.name}/{file.name}"
    with reading(place), file.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise CheckpointError(f"{place} has more than {most // 1024:,} KB, which is too long for its kind.", hint=AGAIN)
    return data


def read_json(file: Path) -> dict[str, Any]:
    """A settings file. Raises CheckpointError unless it holds one object."""
    place = f"{file.parent.name}/{file.name}"
    try:
        value = parse_json(read_bytes(file))
    except UnreadableError as error:
        raise CheckpointError(f"{place} cannot be read as JSON: {error}.", hint=AGAIN) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{place} does not hold a JSON object.", hint=AGAIN)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableError("a name stands twice in it")
    return found


class Settings:
    """One settings file whose values are asked for by kind, so that a wrong one is named with its file."""

    def __init__(self, file: Path, values: dict[str, Any] | None = None) -> None:
        """Raises CheckpointError when the file holds no JSON object."""
        self._file = file
        self.values = read_json(file) if values is None else values

    def text(self, name: str) -> str | None:
        """A string, or nothing."""
        return cast("str | None", self._typed(name, str, "text"))

    def whole(self, name: str) -> int | None:
        """A whole number above 0, or nothing."""
        value = self.values.get(name)
        if value is None or (type(value) is int and 1 <= value < 2**31):
            return value
        raise self.wrong(name, "a whole number above 0")

    def number(self, name: str) -> float | None:
        """Any number, or nothing; JSON's NaN and Infinity pass here, limits refuse them."""
        value = self.values.get(name)
        if value is None or type(value) is float or (type(value) is int and abs(value) < 2**63):
            return None if value is None else float(value)
        raise self.wrong(name, "a number")

    def items(self, name: str) -> list[Any]:
        """A list; an empty one when there is none."""
        return cast("list[Any]", self._typed(name, list, "a list") or [])

    def section(self, name: str) -> "Settings":
        """An object inside; an empty one when there is none."""
        return Settings(self._file, self._typed(name, dict, "an object") or {})

    def wrong(self, name: str, wanted: str) -> CheckpointError:
        """The error for a value of the wrong kind."""
        place = f"{self._file.parent.name}/{self._file.name}"
        return CheckpointError(f'{place}: "{name}" is not {wanted}.', hint=AGAIN)

    def _typed(self, name: str, kind: type, wanted: str) -> Any:
        value = self.values.get(name)
        if value is not None and not isinstance(value, kind):
            raise self.wrong(name, wanted)
        return value
