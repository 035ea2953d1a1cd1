"""The one Unix socket of an installation: where it lies, who may listen, who is at the other end."""

import fcntl
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
PATH_LIMIT = 100
SYSTEM: str = sys.platform


def socket_path(folder: Path, name: str = "layer.sock") -> Path:
    """`folder/name`, or a place in a private temporary folder when that is too long for a Unix socket.

    Every process of the installation finds the same place. Raises PermissionError when the folder is not ours alone.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder.resolve() / name
    if len(os.fsencode(path)) <= PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    # Not gettempdir() first: TMPDIR may differ between two processes of one installation, or be long itself.
    shared = Path("/tmp")  # noqa: S108 the folder below it is checked
    short = (shared if shared.is_dir() else Path(tempfile.gettempdir())) / f"tessera-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    status = short.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{short} exists and is not a private folder of this user; remove it.")
    return short / name


class Listener:
    """A bound socket of mode 0600, fenced by a file lock that the kernel drops when its process dies."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError while another living process listens."""
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.socket = _bind(path)
        except OSError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Stop listening. The file stays: removing it could hit the one of a successor."""
        self.socket.close()
        os.close(self._lock)


def _bind(path: Path) -> socket.socket:
    # We hold the lock, so whoever left this file is dead.
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        # Before listen() nobody can connect, so there is no moment with looser rights.
        path.chmod(0o600)
        bound.listen(64)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def peer_uid(connection: socket.socket) -> int | None:
    """The user at the other end, where the system tells."""
    if SYSTEM == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[1])
    if SYSTEM == "darwin":
        # struct xucred of LOCAL_PEERCRED (option 1 of level 0): version, uid, groups ...
        return int(struct.unpack_from("II", connection.getsockopt(0, 1, 76))[1])
    return None
