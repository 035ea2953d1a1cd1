"""What a course needs before its first step: the data set from its package, a folder to train in, a place to write to.

Each thing that is missing is one sentence. Must not import torch.
"""

import fcntl
import os
import subprocess
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from generation.training.errors import TrainingError, is_full
from generation.training.state import FILE

if TYPE_CHECKING:
    from generation.training.world import World

LOCK = "lock"
LOCK_SECONDS = 30.0  # an earlier trainer whose command was killed saves and ends in that time
LOADABLE = ("model_index.json", "config.json")  # a folder with one of these is a checkpoint, which may be replaced
INSTALL = 'Install it: .venv/bin/python -m pip install ".[training]"'


def build_world(cache: Path) -> "World":
    """The pictures and words to learn; the icons are fetched and rendered when they are not cached."""
    try:
        from generation.training.world import World  # here: its renderer may be missing

        try:
            return World.build(cache)
        except (tarfile.ReadError, EOFError, zlib.error):  # a kill left half a package
            for archive in cache.glob("*.tgz"):
                archive.unlink()
            return World.build(cache)
    except ModuleNotFoundError as error:
        message = f"The Python package {str(error.name).replace('_', '-')} is missing."
        raise TrainingError("package_missing", message, hint=INSTALL, exit_code=2) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines() or ["no reason given"]
        message = f"npm could not fetch the icons: {said[-1]}"
        hint = f"Once, it needs the network; or put the .tgz that `npm pack` makes elsewhere into {cache}."
        raise TrainingError("icons_unavailable", message, hint=hint) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename == "npm":
            hint = "Install Node.js with npm (on Debian: apt install npm), which fetches the icons by package name."
            raise TrainingError("npm_missing", "npm is missing.", hint=hint, exit_code=2) from error
        raise _unusable(cache, error) from error


@contextmanager
def training_folder(folder: Path) -> Iterator[None]:
    """Make it, and keep it for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise _unusable(folder, error) from error
    with lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(lock.fileno()):
            if time.monotonic() > deadline:
                hint = "Stop it first, or choose another --folder."
                raise TrainingError("folder_busy", f"A training runs in {folder}.", hint=hint, exit_code=2)
            time.sleep(0.2)
        yield


def require_empty(folder: Path) -> None:
    """Nothing but our own lock: stages take up whatever they find."""
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if FILE in others:
        hint = "Go on with --resume, or delete that folder to begin anew."
        raise TrainingError(
            "begun_already", f"{folder} holds a training that was begun before.", hint=hint, exit_code=2
        )
    if others:
        hint = "Delete it or choose another --folder."
        message = f"{folder} holds other things: {', '.join(others[:3])}."
        raise TrainingError("folder_not_empty", message, hint=hint, exit_code=2)


def require_replaceable(output: Path, folder: Path) -> None:
    """`output` may be written: it is missing, empty, or a checkpoint; and it does not hold the training itself."""
    hint = "Give --output a folder that is new, or holds a starter."
    try:
        if output == folder or output in folder.parents:
            message = f"{output} holds the training's own folder."
            raise TrainingError("output_unusable", message, hint=hint, exit_code=2)
        if output.is_dir() and any(output.iterdir()) and not any((output / name).is_file() for name in LOADABLE):
            message = f"{output} holds something that is no checkpoint, and would be replaced."
            raise TrainingError("output_unusable", message, hint=hint, exit_code=2)
        if output.exists() and not output.is_dir():
            raise TrainingError("output_unusable", f"{output} is no folder.", hint=hint, exit_code=2)
        output.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(output.parent, os.W_OK):  # a draft is written beside it
            raise TrainingError("output_unusable", f"{output.parent} is not writable.", hint=hint, exit_code=2)
    except OSError as error:
        raise _unusable(output, error) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unusable(folder: Path, error: OSError) -> TrainingError:
    if is_full(error):
        return TrainingError(
            "disk_full", f"No room is left on the disk of {folder}.", hint="Free some, then try again."
        )
    message = f"{error.filename or folder} cannot be used: {error.strerror}."
    return TrainingError("folder_unusable", message, hint="Choose another folder.", exit_code=2)
