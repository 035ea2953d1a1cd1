"""Where a stage stands: a small real disk where one can be mounted, a clock of its own where one can be built."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.chaos.clock import Clock
from tests.chaos.faults import Fault
from tests.chaos.stage import Stage

DISK_KILOBYTES = 64 * 1024


@contextlib.contextmanager
def ground(
    folder: Path, connected: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
) -> Iterator[Stage]:
    """A stage that is not opened yet, in `folder` / data, which must be empty. Everybody on it is gone afterwards."""
    data = folder / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KILOBYTES}k,mode=0700", "tmpfs", str(data)]
    small = os.geteuid() == 0 and not subprocess.run(mount, check=False, capture_output=True).returncode
    stage = Stage(data, clock=Clock.build(folder), small=small, connected=connected)
    try:
        yield stage
    finally:
        stage.close()
        if small:
            subprocess.run(["umount", "--lazy", str(data)], check=True)


def impossible(stage: Stage, fault: Fault) -> str:
    """Why this machine cannot play it; empty when it can."""
    if fault.name.startswith("disk") and not stage.small:
        return "only root can mount a small file system, and not in every container"
    if fault.name.startswith("clock") and stage.clock is None:
        return "there is no C compiler for a clock of its own"
    return ""
