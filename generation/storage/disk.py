"""Files in a folder of this machine, or one that all machines mount."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


def write_atomic(target: Path, data: bytes) -> None:
    """Whole or not at all, also when the machine loses power."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except OSError:
        part.unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class Disk:
    """The media folder."""

    root: Path

    def write(self, name: str, data: bytes) -> None:
        """With a rename at the end."""
        write_atomic(self.root / name, data)

    def open(self, name: str) -> BinaryIO:
        """An ordinary file."""
        return (self.root / name).open("rb")

    def size(self, name: str) -> int:
        """As the disk says."""
        found = self.root / name
        if found.is_dir():
            raise FileNotFoundError(name)
        return found.stat().st_size

    def remove(self, name: str) -> None:
        """The file; its folder stays."""
        (self.root / name).unlink(missing_ok=True)

    def remove_beside(self, *names: str) -> None:
        """Their whole folder, with what a crash left half written."""
        for folder in {(self.root / name).parent for name in names}:
            shutil.rmtree(folder, ignore_errors=True)

    def old_pictures(self, folder: str, picture: str, seconds: float) -> Iterator[str]:
        """By the time of their folders."""
        before = time.time() - seconds
        for found in (self.root / folder).glob("*/*"):
            if found.stat().st_mtime < before:
                yield (found / picture).relative_to(self.root).as_posix()

    def old_files(self, folder: str, seconds: float) -> Iterator[str]:
        """By their own time."""
        before = time.time() - seconds
        for found in (self.root / folder).glob("*/*"):
            if found.stat().st_mtime < before:
                yield found.relative_to(self.root).as_posix()

    def address(self, name: str, *, content_type: str, disposition: str) -> str:
        """A folder has none."""
        raise OSError("Files of a folder have no address of their own.")
