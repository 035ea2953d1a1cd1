"""Whether the files of a checkpoint are still those that were tested when it was added. No torch.

The sums are written as `sha256sum` writes them, one line a file, sorted by name; the sum of those lines stands for the
whole. So anyone can make them again: in the folder, `find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n'
sha256sum | tee /dev/stderr | sha256sum`. A checkpoint of one file has the sum of that file; where something beside it
belongs to it, that of the lines of all these files.

What is checked when it is loaded is read again by the libraries: who can write to the folder at that very moment can
still deceive. Let only operators write there.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from generation.engines.checkpoint_files import files_of
from generation.engines.errors import CheckpointError
from generation.engines.params import CheckpointSpec
from generation.engines.reading import reading
from generation.engines.single_companions import files_with

CHUNK = 8 * 1024 * 1024
TELL_SECONDS = 1.0
MOST_KEPT = 10_000
CHANGED = "are not those that were added"  # in the sentence about files that changed

Tell = Callable[[int, int], None]
Stamp = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`sha256` of the whole, `manifest` the sums of its files."""

    sha256: str
    manifest: str


class Sums:
    """Sums of files. Remembers them as long as a file's size and times stay, so that nothing is read twice."""

    def __init__(self) -> None:
        self._known: dict[Stamp, str] = {}

    def of(self, path: str | Path, tell: Tell = lambda done, total: None) -> Fingerprint:
        """Read every file of a checkpoint; `tell` is called now and then with bytes done and bytes in all.

        Raises CheckpointError, FilesUnavailableError.
        """
        place = Path(path)
        with reading(place.name):
            files = files_with(place) if place.is_file() else files_of(place)
            root = place.parent if place.is_file() else place
            progress = _Progress(sum(file.stat().st_size for file in files), tell)
            if files == [place]:
                sha256 = self._sum(place, progress)
                return Fingerprint(sha256, f"{sha256}  {place.name}\n")
            names = sorted((file.relative_to(root).as_posix().encode(), file) for file in files)
            manifest = "".join(f"{self._sum(file, progress)}  {name.decode()}\n" for name, file in names)
        return Fingerprint(hashlib.sha256(manifest.encode()).hexdigest(), manifest)

    def verify(self, spec: CheckpointSpec, tell: Tell = lambda done, total: None) -> None:
        """Raises CheckpointError, naming a file, unless all are as when the checkpoint was added."""
        if not spec.sha256:
            return
        found = self.of(spec.path, tell)
        if found.sha256 == spec.sha256:
            return
        changed = _difference(spec.manifest, found.manifest)
        raise CheckpointError(
            f"The files of {spec.name} {CHANGED}: {changed}.",
            hint="If that was meant, add it again: manage.py add_checkpoint.",
        )

    def _sum(self, file: Path, progress: "_Progress") -> str:
        stamp = _stamp(file)
        if stamp not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[stamp] = _read(file, progress)
            return self._known[stamp]
        progress.add(stamp[1])
        return self._known[stamp]


@dataclass(slots=True)
class _Progress:
    total: int
    tell: Tell
    done: int = 0
    told: float = field(default_factory=time.monotonic)

    def add(self, size: int) -> None:
        """So many bytes more are done."""
        self.done += size
        if (now := time.monotonic()) - self.told >= TELL_SECONDS:
            self.told = now
            self.tell(self.done, self.total)


def _read(file: Path, progress: _Progress) -> str:
    """No further than the file was long at first: one that grows meanwhile is not followed."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with file.open("rb", buffering=0) as stream:
        left = os.fstat(stream.fileno()).st_size
        while left > 0 and (got := stream.readinto(buffer[: min(left, CHUNK)])):
            digest.update(buffer[:got])
            left -= got
            progress.add(got)
    return digest.hexdigest()


def _stamp(file: Path) -> Stamp:
    """The change time is among them because, unlike the others, nobody can set it back."""
    found = file.stat()
    return str(file), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _difference(before: str, now: str) -> str:
    """In words, the first difference by name; what changed before what is new or gone."""
    old, new = _by_name(before), _by_name(now)
    if not old:
        return "their sum is another"
    for name in sorted(old.keys() | new.keys(), key=lambda name: (not (name in old and name in new), name)):
        if old.get(name) != new.get(name):
            return f"{name} {'is new' if name not in old else 'is gone' if name not in new else 'has changed'}"
    return "their sum is another"


def _by_name(manifest: str) -> dict[str, str]:
    lines = (line.partition("  ") for line in manifest.splitlines())
    return {name: sha256 for sha256, _, name in lines}
