"""The installation's secret key: from the environment, else made once and kept in the data folder."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from config.env import env_str


def secret_key(data: Path) -> str:
    """TESSERA_SECRET_KEY, or the content of `data/secret-key`, which is created with mode 0600 when missing."""
    if given := env_str("TESSERA_SECRET_KEY"):
        return given
    file = data / "secret-key"
    if not file.exists():
        data.mkdir(parents=True, exist_ok=True)
        _make(file)
    return file.read_text(encoding="ascii").strip()


def _make(file: Path) -> None:
    # Written beside and then linked: of two processes that start together both read one whole key.
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(48))
    with contextlib.suppress(FileExistsError):
        os.link(name, file)
    Path(name).unlink()
