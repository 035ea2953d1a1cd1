"""What an archive says of itself: every file with its size and sum. What it says is checked before it is believed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from core.errors import TesseraError

FORMAT = 1
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 512 * 1024 * 1024
DATABASE, MEDIA, KEYS = "database", "media", "keys"
DAMAGED = "Use another copy of the archive."


class ArchiveError(TesseraError):
    """The archive, or what it would be made of, cannot be used."""

    code = "archive_unusable"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; `sha256` as hexadecimal digits, `size` in bytes."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`engine`: the kind of database. `migrations`: all that were applied, by app.

    Not in the archive are `gone`, files of pictures that were deleted for good while it was written, and `lost`, which
    were missing before. The rows of those that are gone are deleted again when the archive is restored.
    """

    made_at: str
    engine: str
    migrations: Mapping[str, list[str]]
    members: Mapping[str, Member]
    gone: list[str]
    lost: list[str]
    format: int = FORMAT

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self), indent=1)

    def names(self, root: str) -> list[str]:
        """Of the files below DATABASE, MEDIA or KEYS."""
        return [name for name in self.members if name.startswith(f"{root}/")]

    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(member.size for member in self.members.values())


def read_manifest(text: bytes) -> Manifest:
    """Raises ArchiveError for what no version of ours has written, and for names that lead out of the archive."""
    try:
        found: dict[str, Any] = json.loads(text)
        if found["format"] != FORMAT:
            raise ArchiveError(
                f"The archive has format {found['format']}; this version reads {FORMAT}.",
                hint="Restore it with the version that wrote it, or a later one.",
            )
        members = {str(name): Member(int(one["size"]), str(one["sha256"])) for name, one in found["members"].items()}
        migrations = {str(app): [str(name) for name in names] for app, names in found["migrations"].items()}
        gone, lost = ([str(name) for name in found[key]] for key in ("gone", "lost"))
        manifest = Manifest(str(found["made_at"]), str(found["engine"]), migrations, members, gone, lost)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError("The archive's list of files cannot be read.", hint=DAMAGED) from error
    for name in manifest.members:
        check_name(name)
    return manifest


def check_name(name: str) -> None:
    """A file below one of our three folders, and nowhere else. Raises ArchiveError."""
    parts = PurePosixPath(name).parts
    plain = name == "/".join(parts) and not {"..", "."} & set(parts) and not any(sign in name for sign in "\\\0:")
    if not plain or len(parts) < 2 or parts[0] not in (DATABASE, MEDIA, KEYS):
        raise ArchiveError(
            f"The archive holds {name!r}, which is no place for a file of Tessera's.",
            hint="Somebody changed the archive; nothing of it was used.",
        )
