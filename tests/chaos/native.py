"""One thread of a process is stopped where it is, as by native code that never returns; its other threads go on."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # also who is no child of ours


class HangRefusedError(OSError):
    """The system lets nobody trace."""


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[Callable[[], bool]]:
    """The main thread of this process hangs until the end of the block, or of the process. By ptrace: Linux only.

    Gives what tells whether the process has ended. Until that is asked nobody else can bury it: who traces comes first.
    """
    if sys.platform != "linux":
        raise HangRefusedError("only Linux can stop one thread")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    for request in (SEIZE, INTERRUPT):
        if libc.ptrace(request, pid, None, None):
            raise HangRefusedError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield lambda: _has_ended(pid)
    finally:
        libc.ptrace(DETACH, pid, None, None)
        _has_ended(pid)


def _has_ended(pid: int) -> bool:
    try:
        found, status = os.waitpid(pid, os.WNOHANG | WALL)
    except ChildProcessError:
        return True
    return found == pid and not os.WIFSTOPPED(status)
