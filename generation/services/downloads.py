"""What leaves with a picture: the mark that a machine drew it always, its recipe where that is allowed and wanted."""

from dataclasses import dataclass
from io import SEEK_END

from accounts.models import User
from generation import storage
from generation.engines.provenance import dressed_head
from generation.models import Image


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Bytes on their way out: `head` first, then the file from `skip` on. `size` is that of both.

    `as_kept`: these are the bytes of the file, so that a proxy or the bucket itself may send them.
    """

    head: bytes
    name: str
    skip: int
    size: int
    as_kept: bool = False


def recipe_leaves(*, image: Image, user: User, wanted: bool | None = None) -> bool:
    """Whether the recipe goes along when `user` takes the picture away; `wanted` None leaves it to the settings.

    Who drew it decides about it: on each download, and by the own setting for everybody else. Nobody is refused
    a picture without its recipe.
    """
    if wanted is False:
        return False
    if wanted and image.owner_id == user.pk:
        return True
    return image.owner.recipes_travel


def silent_name(image: Image) -> str:
    """A file name that tells nothing of the prompt."""
    return f"picture-{image.pk.hex[:8]}.png"


def picture_outgoing(*, image: Image, with_recipe: bool) -> Outgoing:
    """The kept picture, dressed anew without a look at its pixels. Raises OSError when it is gone or damaged."""
    with storage.open_file(image.file) as file:
        try:
            head, skip = dressed_head(file, image.recipe, with_recipe=with_recipe)
        except ValueError as error:  # what cannot be read cannot be rid of its recipe either
            raise OSError(f"The file of picture {image.pk} is damaged: {error}") from error
        as_kept = skip == len(head) and file.seek(0) == 0 and file.read(skip) == head
        size = file.seek(0, SEEK_END)
    return Outgoing(head, image.file, skip, len(head) + size - skip, as_kept)


def bytes_of(going: Outgoing) -> bytes:
    """All of it at once, for those who need the whole picture. Raises OSError when it is gone."""
    with storage.open_file(going.name) as file:
        file.seek(going.skip)
        return going.head + file.read()


def file_outgoing(name: str) -> Outgoing:
    """A file as it is. Raises OSError when it is gone."""
    return Outgoing(b"", name, 0, storage.size(name), as_kept=True)
