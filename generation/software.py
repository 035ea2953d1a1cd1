"""Which Tessera this is, on which machine, with which secret key: what must agree where several machines share work."""

import contextlib
import functools
import os
import secrets
import socket
from pathlib import Path

from django.conf import settings
from django.utils.crypto import salted_hmac

from generation.engines.manifest import VERSION

COMMIT = 10
INSTANCE = "instance"


def host_name() -> str:
    """Of this machine."""
    return socket.gethostname()[:120]


@functools.cache
def software_version() -> str:
    """The version, and the commit where this is a checkout. As it was when this process started."""
    commit = _commit(Path(settings.ROOT) / ".git")
    return f"{VERSION}+{commit[:COMMIT]}" if commit else VERSION


def instance() -> str:
    """Of this data folder: its own locks keep its clusters apart, this tells them from others. Raises OSError."""
    return _instance(Path(settings.DATA))


def key_mark() -> str:
    """Equal for equal secret keys, and tells nothing of them."""
    return salted_hmac("tessera.key-mark", "", algorithm="sha256").hexdigest()[:16]


@functools.cache
def _instance(data: Path) -> str:
    """Made once; of several processes that begin together the first one's stays."""
    file = data / INSTANCE
    if not file.exists() or not file.stat().st_size:  # the power went away at the wrong moment
        file.unlink(missing_ok=True)
        part = data / f".{INSTANCE}.{os.getpid()}"
        part.write_text(secrets.token_hex(16), encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(part, file)
        part.unlink()
    return file.read_text(encoding="ascii").strip()[:40]


def _commit(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        return loose.read_text(encoding="ascii").strip() if loose.exists() else _packed(git, name)
    except (OSError, ValueError):
        return ""


def _packed(git: Path, name: str) -> str:
    lines = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
