"""Reads settings from the environment. A wrong value is refused with a sentence that names it."""

import os
import re
import stat
import zoneinfo
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
NUMBER = re.compile(r"-?[0-9]{1,18}")
HOST_NAME = re.compile(r"\*|\.?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
ORIGIN = re.compile(r"https?://[^\s/?#]+")
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 these are never names of this machine
# A folder that holds one of these is ours, whoever made it.
OURS = ("secret-key", "tessera.sqlite3")


def env_str(name: str, default: str = "") -> str:
    """The value of NAME, or the content of the file that NAME_FILE names, or the default."""
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return os.environ.get(name) or default
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {file!r}, which cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {file!r}, which is no text in UTF-8.") from error


def env_bool(name: str, default: bool) -> bool:
    """True for 1, true, yes, on; false for 0, false, no, off."""
    value = env_str(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}; use true or false.")
    return value in TRUE


def env_int(name: str, default: int, *, least: int, most: int) -> int:
    """A whole number between `least` and `most`."""
    value = env_str(name)
    if not value:
        return default
    if not NUMBER.fullmatch(value) or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; use a whole number from {least} to {most}.")
    return int(value)


def env_decimal(name: str, default: str, *, most: int) -> Decimal:
    """A price: a number from 0 to `most`, with at most nine places behind the point."""
    value = env_str(name, default)
    if not PRICE.fullmatch(value) or Decimal(value) > most:
        raise ImproperlyConfigured(f"{name} is {value!r}; use a number from 0 to {most}, such as 0.32.")
    return Decimal(value)


def env_choice(name: str, default: str, choices: Sequence[str]) -> str:
    """One of `choices`."""
    value = env_str(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; use one of {', '.join(choices)}.")
    return value


def env_slug(name: str, default: str) -> str:
    """A short name: small letters, digits, dashes."""
    value = env_str(name, default)
    if not SLUG.fullmatch(value):
        raise ImproperlyConfigured(f"{name} is {value!r}; use small letters, digits and dashes, 40 at most.")
    return value


def env_folder(name: str, default: Path) -> Path:
    """An absolute path of a folder that is ours alone, made when missing; a relative one starts at the current one."""
    value = env_str(name)
    try:
        path = (Path(value).expanduser() if value else default).resolve()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(name, path)
    except FileExistsError as error:
        raise ImproperlyConfigured(f"{name} is {value!r}, which is a file; use a folder.") from error
    except RuntimeError as error:
        raise ImproperlyConfigured(f"{name} is {value!r}: {error}") from error
    except OSError as error:
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which cannot be used: {error.strerror}.") from error
    return path


def env_file(name: str) -> Path | None:
    """A path of a file that may come later; a relative one starts at the current folder."""
    value = env_str(name)
    if not value:
        return None
    try:
        path = Path(value).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} is {value!r}: {error}") from error
    if path.is_dir():
        raise ImproperlyConfigured(f"{name} is {value!r}, which is a folder; use a file.")
    return path


def _make_private(name: str, path: Path) -> None:
    # Prompts and password hashes lie in there, and other people may have accounts on this machine.
    found = path.stat()
    if found.st_uid != os.geteuid() != 0:
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which belongs to another user; use a folder of your own.")
    if found.st_mode & stat.S_ISVTX:
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which everybody shares; use a folder inside it.")
    if found.st_mode & 0o077:
        _narrow(name, path)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which is not writable.")


def _narrow(name: str, path: Path) -> None:
    # A folder that others live in (/opt, a home) must not be closed before their noses.
    if any(path.iterdir()) and not any((path / file).exists() for file in OURS):
        raise ImproperlyConfigured(
            f"{name} is {str(path)!r}, which others may open and which holds files that are not Tessera's. "
            f"Use a folder of its own, such as {str(path / 'tessera')!r}; if this one is meant, chmod 700 it."
        )
    path.chmod(0o700)


def env_time_zone(name: str, default: str) -> str:
    """A name that the time zone database knows."""
    value = env_str(name, default)
    if value != "UTC" and value not in zoneinfo.available_timezones():
        raise ImproperlyConfigured(f"{name} is {value!r}; use a name like UTC or Europe/Vienna.")
    return value


def env_list(name: str) -> list[str]:
    """Values separated by commas."""
    return [part.strip() for part in env_str(name).split(",") if part.strip()]


def env_paths(name: str) -> list[Path]:
    """Folders separated by commas; they may come later."""
    return [Path(part).expanduser().absolute() for part in env_list(name)]


def env_hosts(name: str, listen: str) -> list[str]:
    """Names that the portal answers to; without any, this machine's own and the address it listens on."""
    given = env_list(name)
    for host in given:
        if not HOST_NAME.fullmatch(host):
            raise ImproperlyConfigured(f"{name} has {host!r}; use names alone, without scheme, port or path.")
    if given:
        return given
    own = f"[{listen}]" if ":" in listen else listen
    return [*LOCAL_NAMES, *({own} - {*LOCAL_NAMES, "[::]", *EVERY_ADDRESS})]


def env_origins(name: str) -> list[str]:
    """Origins: scheme and name, and a port where it is not the usual one."""
    given = env_list(name)
    for origin in given:
        if not ORIGIN.fullmatch(origin):
            raise ImproperlyConfigured(f"{name} has {origin!r}; use origins like https://studio.example.org.")
    return given
