"""System checks: what an operator should know of signing, and of machines that do not fit together."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 Django's name for it
from django.db import DatabaseError

from generation.engines.errors import SigningError
from generation.engines.signing import load_identity, trial
from generation.models import Device
from generation.software import key_mark, software_version

logger = logging.getLogger(__name__)

SOON = timedelta(days=30)
UNTIL = "Until then no picture can be downloaded."


def signing(**kwargs: Any) -> list[CheckMessage]:
    """W001 half set, W002 not usable, W003 ended or soon to end, W004 a key that others may read."""
    certificate, key = settings.C2PA_CERTIFICATE, settings.C2PA_KEY
    if certificate is None and key is None:
        return []
    if certificate is None or key is None:
        missing = "TESSERA_C2PA_KEY" if key is None else "TESSERA_C2PA_CERTIFICATE"
        hint = f"Set {missing} too, or neither. {UNTIL}"
        return [Warning(f"Signing is half set: {missing} is missing.", hint=hint, id="tessera.W001")]
    return [*_usable(certificate, key), *_private(key)]


def machines(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """W005 another version, W006 another secret key. Asks the database, so only when that is named."""
    if not databases:
        return []
    try:
        devices = list(Device.objects.alive())
    except DatabaseError:
        return []  # not migrated yet
    return [found for device in devices for found in _fitting(device)]


def machines_tell() -> None:
    """The same in the log, for a process that starts: it stops nobody, since a rolling update has it for minutes."""
    for found in machines(databases=["default"]):
        logger.warning("%s %s", found.msg, found.hint)


def _fitting(device: Device) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if device.version and device.version != software_version():
        said = f"The device {device.name} on {device.host} runs Tessera {device.version}, this is {software_version()}."
        found.append(Warning(said, hint="Update one of them, then run manage.py prepare.", id="tessera.W005"))
    if device.key_mark and device.key_mark != key_mark():
        said = f"The device {device.name} on {device.host} has another secret key, so it hears no bell from here."
        found.append(Warning(said, hint="Give all machines the same TESSERA_SECRET_KEY.", id="tessera.W006"))
    return found


def _usable(certificate: Path, key: Path) -> list[CheckMessage]:
    try:
        identity = load_identity(certificate, key)
        left = identity.ends - datetime.now(UTC)
        if left > timedelta(0):
            trial(identity)
    except SigningError as error:
        hint = f"Look at TESSERA_C2PA_CERTIFICATE and TESSERA_C2PA_KEY. {UNTIL}"
        return [Warning(f"Pictures cannot be signed. {error}", hint=hint, id="tessera.W002")]
    if left > SOON:
        return []
    said, then = ("ends", "After that") if left > timedelta(0) else ("ended", "Until then")
    hint = f"Put a new one in place, {certificate}. {then} no picture can be downloaded."
    return [Warning(f"The certificate for signing {said} on {identity.ends:%d %B %Y}.", hint=hint, id="tessera.W003")]


def _private(key: Path) -> list[CheckMessage]:
    try:
        open_to_others = key.stat().st_mode & 0o077
    except OSError:
        return []  # told already
    hint = f"chmod 600 {key}"
    said = f"{key}, the key for signing, may be read by other people on this machine."
    return [Warning(said, hint=hint, id="tessera.W004")] if open_to_others else []
