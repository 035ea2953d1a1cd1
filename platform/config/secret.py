"""The installation's secret key: from the environment, else made once and kept in the data folder."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config.env import env_str


def secret_key(data: Path) -> str:
    """TESSERA_SECRET_KEY, or the content of `data/secret-key`, which is created with mode 0600 when missing."""
    if given := env_str("TESSERA_SECRET_KEY"):
        return given
    file = data / "secret-key"
    try:
        if not file.exists():
            _make(file)
        key = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ImproperlyConfigured(f"The secret key in TESSERA_DATA, {file}, cannot be kept: {reason}.") from error
    if not key:
        raise ImproperlyConfigured(f"The secret key in TESSERA_DATA, {file}, is empty; delete that file.")
    return key


def _make(file: Path) -> None:
    # Written beside and then linked: of two processes that start together both read one whole key.
    handle, name = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()
