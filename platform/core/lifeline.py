"""Ties a process to its parent: however the parent ends, the kernel ends the process too. Linux only."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> bool:
    """Have the kernel send `number` to this process when its parent has ended; false where it cannot."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number) == 0)
