"""Read what a safetensors file says about itself, without its tensors, and whether the file is whole. No torch."""

import json
from pathlib import Path

from generation.engines.errors import CheckpointError

LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000  # the format's own limit


def check_safetensors(file: Path) -> int:
    """Bytes of the tensors. Raises CheckpointError when header and file do not agree."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if size < LENGTH_BYTES or not 2 <= length <= min(LONGEST_HEADER, size - LENGTH_BYTES):
            raise _damaged(file, "its header is longer than the file")
        text = stream.read(length)
    try:
        ends = _ends(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(file, "its header cannot be read") from error
    if LENGTH_BYTES + length + ends != size:
        raise _damaged(file, f"its tensors need {ends:,} bytes and {size - LENGTH_BYTES - length:,} are there")
    return ends


def _ends(header: dict[str, dict[str, list[int]]]) -> int:
    """Where the last tensor ends; they must follow each other without a gap."""
    spans = sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise ValueError("tensors overlap or leave a gap")
        end = stop
    return end


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"The weights {file.parent.name}/{file.name} are damaged: {reason}.", hint="Fetch the checkpoint again."
    )
