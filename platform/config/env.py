"""Reads settings from the environment. A wrong value is refused with a sentence that names it."""

import os
import zoneinfo
from collections.abc import Sequence
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})


def env_str(name: str, default: str = "") -> str:
    """The value of NAME, or the content of the file that NAME_FILE names, or the default."""
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return os.environ.get(name) or default
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{name}_FILE names {file!r}, which cannot be read: {error.strerror}.") from error


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
    if not value.lstrip("-").isdigit() or not least <= int(value) <= most:
        raise ImproperlyConfigured(f"{name} is {value!r}; use a whole number from {least} to {most}.")
    return int(value)


def env_choice(name: str, default: str, choices: Sequence[str]) -> str:
    """One of `choices`."""
    value = env_str(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}; use one of {', '.join(choices)}.")
    return value


def env_path(name: str, default: Path) -> Path:
    """An absolute path; a relative one is taken from the current folder."""
    value = env_str(name)
    path = Path(value).expanduser() if value else default
    if path.exists() and not path.is_dir():
        raise ImproperlyConfigured(f"{name} is {str(path)!r}, which is a file; use a folder.")
    return path.resolve()


def env_time_zone(name: str, default: str) -> str:
    """A name that the time zone database knows."""
    value = env_str(name, default)
    if value != "UTC" and value not in zoneinfo.available_timezones():
        raise ImproperlyConfigured(f"{name} is {value!r}; use a name like UTC or Europe/Vienna.")
    return value


def env_list(name: str) -> list[str]:
    """Values separated by commas."""
    return [part.strip() for part in env_str(name).split(",") if part.strip()]
