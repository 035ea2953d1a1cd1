"""Read what a safetensors file says about itself, without its tensors, and whether the file is whole. No torch.

The file is foreign: nothing is read before its size is known, nothing is parsed before its parts are counted, and
what the format forbids (gaps, overlaps, two tensors of one name) is refused rather than guessed at.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.engines.errors import CheckpointError
from generation.engines.reading import AGAIN, UnreadableError, parse_json

LENGTH_BYTES = 8
LONGEST_HEADER = 16 * 1024 * 1024  # of those in use the longest has about 2 MB; the format itself allows 100 MB
MOST_TENSORS = 100_000  # of those in use the largest has about 10,000 in one file
SNIFFED = LENGTH_BYTES + 1  # bytes that tell what a file is: behind the length of a header stands its bracket
PICKLE, PROTOCOLS = b"\x80", tuple(bytes([number]) for number in range(2, 6))  # how a pickle begins
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its type as the format writes it, its shape, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The tensors by name, and what else the file says of itself."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    def dtypes(self) -> dict[str, int]:
        """Bytes by type, the most first."""
        found = Counter[str]()
        for tensor in self.tensors.values():
            found[tensor.dtype] += tensor.size_bytes
        return dict(found.most_common())


def check_safetensors(file: Path) -> int:
    """Bytes of the tensors. Raises CheckpointError when header and file do not agree."""
    return read_header(file).size_bytes


def read_header(file: Path) -> SafetensorsHeader:
    """What the file holds. Raises CheckpointError when header and file do not agree."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(SNIFFED)
        refuse_disguise(file, first)
        length = int.from_bytes(first[:LENGTH_BYTES], "little")
        if size < LENGTH_BYTES or not 2 <= length <= size - LENGTH_BYTES:
            raise _damaged(file, "its header is longer than the file")
        if length > LONGEST_HEADER:
            raise _damaged(file, f"its header has {length:,} bytes; {LONGEST_HEADER:,} is the most")
        stream.seek(LENGTH_BYTES)
        text = stream.read(length)
    try:
        header = parse_json(text, most_values=10 * MOST_TENSORS, twice=False)
    except UnreadableError as error:
        raise _damaged(file, f"its header cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header cannot be read: it is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(file, "its header cannot be read: what it says of itself is no text")
    if len(header) > MOST_TENSORS:
        raise _damaged(file, f"it lists {len(header):,} tensors; {MOST_TENSORS:,} is the most")
    tensors, ends = _tensors(file, header)
    if LENGTH_BYTES + length + ends != size:
        raise _damaged(file, f"its tensors need {ends:,} bytes and {size - LENGTH_BYTES - length:,} are there")
    return SafetensorsHeader(tensors, metadata)


def refuse_disguise(file: Path, first: bytes) -> None:
    """Raises CheckpointError for a pickle or an archive under another name; `first` are the first SNIFFED bytes."""
    if first[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        kind = "a zip archive, as torch saves pickles in"
    elif first[:1] == PICKLE and first[1:2] in PROTOCOLS and first[LENGTH_BYTES:] != b"{":
        kind = "a pickle, which can run code when it is read"
    else:
        return
    raise CheckpointError(
        f"{file.parent.name}/{file.name} is {kind}, whatever its name says.",
        hint="Use a checkpoint that never was one.",
    )


def _tensors(file: Path, header: dict[str, Any]) -> tuple[dict[str, TensorInfo], int]:
    """The tensors, and where the last one ends; they must follow each other without a gap."""
    tensors, spans = dict[str, TensorInfo](), list[tuple[int, int]]()
    for name, entry in header.items():
        match entry:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
                spans.append((start, stop))
                tensors[name] = _tensor(file, name, dtype, shape, stop - start)
            case _:
                raise _damaged(file, f"its header cannot be read: {name[:80]!r} is no tensor")
    end = 0
    for start, stop in sorted(spans):
        if start != end or stop < start:
            raise _damaged(file, "its header cannot be read: tensors overlap or leave a gap")
        end = stop
    return tensors, end


def _tensor(file: Path, name: str, dtype: str, shape: list[Any], size: int) -> TensorInfo:
    if dtype not in BITS:
        raise _damaged(file, f"the tensor {name[:80]!r} is of the unknown type {dtype[:20]!r}")
    if not all(type(edge) is int and 0 <= edge < 2**48 for edge in shape) or len(shape) > 16:
        raise _damaged(file, f"its header cannot be read: the shape of {name[:80]!r} is none")
    needed = math.prod(shape) * BITS[dtype] // 8
    if needed != size:
        raise _damaged(file, f"the tensor {name[:80]!r} needs {needed:,} bytes by its shape and has {size:,}")
    return TensorInfo(dtype, tuple(shape), size)


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"The weights {file.parent.name}/{file.name} are damaged: {reason}.", hint=AGAIN)
