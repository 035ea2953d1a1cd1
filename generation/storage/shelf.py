"""What a place for files can do. Names are relative, with slashes."""

from collections.abc import Iterator
from typing import BinaryIO, Protocol


class Shelf(Protocol):
    """A folder, or a bucket. FileNotFoundError where there is no such file, OSError where the place is in trouble."""

    def write(self, name: str, data: bytes) -> None:
        """Whole or not at all; replaces."""

    def open(self, name: str) -> BinaryIO:
        """To read from, at any place."""

    def size(self, name: str) -> int:
        """In bytes."""

    def remove(self, name: str) -> None:
        """Harmless when it is gone."""

    def remove_beside(self, *names: str) -> None:
        """Files of one folder that holds nothing else. Never raises: what is left is swept later."""

    def old_pictures(self, folder: str, picture: str, seconds: float) -> Iterator[str]:
        """folder/*/*/picture for each folder/*/* that is older, whatever it holds."""

    def old_files(self, folder: str, seconds: float) -> Iterator[str]:
        """folder/*/* that are older."""

    def address(self, name: str, *, content_type: str, disposition: str) -> str:
        """Where a browser may fetch it by itself, for a few minutes. Raises OSError where it cannot."""
