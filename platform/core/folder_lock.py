"""Who uses the data folder: those that serve hold it together, who replaces what is in it holds it alone.

Every process that inherits the open file holds it too, so it is free when the last one is gone.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import TesseraError

FILE = "portal.lock"
POLL_SECONDS = 0.1


class FolderInUseError(TesseraError):
    """Somebody else holds the folder."""

    code = "folder_in_use"


@contextmanager
def shared(data: Path) -> Iterator[None]:
    """For whoever serves from this folder. Raises FolderInUseError while its content is replaced, OSError."""
    refusal = FolderInUseError(f"What is in {data} is being replaced.", hint="Start again when the restore is done.")
    with _locked(data, fcntl.LOCK_SH, refusal, seconds=0.0):
        yield


@contextmanager
def alone(data: Path, *, seconds: float = 0.0) -> Iterator[None]:
    """For whoever replaces it; waits so long for others to end. Raises FolderInUseError, OSError."""
    refusal = FolderInUseError(
        f"A web process or a cluster still runs on {data}.", hint="Stop all that serve from this folder first."
    )
    with _locked(data, fcntl.LOCK_EX, refusal, seconds=seconds):
        yield


@contextmanager
def _locked(data: Path, kind: int, refusal: FolderInUseError, *, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    with (data / FILE).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise refusal from None
            time.sleep(POLL_SECONDS)
        yield
