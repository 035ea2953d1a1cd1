"""One thread of a process is stopped where it is, as by native code that never returns; its other threads go on."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17


class HangRefusedError(OSError):
    """The system lets nobody trace."""


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """The main thread of this process hangs until the end of the block, or of the process. By ptrace: Linux only."""
    if sys.platform != "linux":
        raise HangRefusedError("only Linux can stop one thread")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    for request in (SEIZE, INTERRUPT):
        if libc.ptrace(request, pid, None, None):
            raise HangRefusedError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield
    finally:
        libc.ptrace(DETACH, pid, None, None)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
