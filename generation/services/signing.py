"""Signed downloads: which certificate, which parent may be told, and bytes that are signed or not handed out at all.

Signed on the way out, never on disk: what is kept stays the same, byte for byte, and a new certificate serves old
pictures too.
"""

from io import BytesIO
from threading import BoundedSemaphore

from django.conf import settings

from accounts.models import User
from core.models import parse_key
from generation.engines.errors import SigningError
from generation.engines.manifest import has_parent, manifest_of, parent_of
from generation.engines.png_chunks import head_chunks
from generation.engines.signing import Identity, load_identity, signed_png
from generation.models import Image
from generation.services.downloads import Outgoing, bytes_of, picture_outgoing, silent_name

GENERATIONS = 8  # of parents that are told with their own signature; those before them are left out
AT_ONCE = BoundedSemaphore(2)  # a signature holds the whole picture in memory twice


def signing_wanted() -> bool:
    """Whether an operator set a certificate. Half of it is a wish too: nothing leaves unsigned by mistake."""
    return settings.C2PA_CERTIFICATE is not None or settings.C2PA_KEY is not None


def picture_signed(*, image: Image, user: User, with_recipe: bool) -> Outgoing:
    """The picture as `user` takes it away, signed. Another signature each time.

    Raises SigningError when it cannot be signed, OSError when its file is gone or damaged.
    """
    identity = load_identity(settings.C2PA_CERTIFICATE, settings.C2PA_KEY)
    plain = picture_outgoing(image=image, with_recipe=with_recipe)
    with AT_ONCE:
        png = bytes_of(plain)
        signed = _signed(image, png, user, identity, with_recipe=with_recipe, left=GENERATIONS)
    stream = BytesIO(signed)
    for _ in head_chunks(stream):
        pass
    pixels = stream.tell()
    if memoryview(signed)[pixels:] != memoryview(png)[len(plain.head) :]:
        raise SigningError("The C2PA library changed more of the picture than its head.")
    return Outgoing(signed[:pixels], plain.name, plain.skip, len(signed))


def _signed(image: Image, png: bytes, user: User, identity: Identity, *, with_recipe: bool, left: int) -> bytes:
    manifest = manifest_of(image.recipe, title=silent_name(image), with_recipe=with_recipe)
    if not has_parent(image.recipe):
        return signed_png(png, manifest, identity)
    parent = _parent(image, user) if left else None
    told = _told(parent, user, identity, left - 1) if parent else None
    ingredient = parent_of(image.recipe, title=silent_name(parent) if parent and told else "")
    return signed_png(png, manifest, identity, ingredient=ingredient, parent=told)


def _parent(image: Image, user: User) -> Image | None:
    """The picture that it was made of, where the person may see it and it was not deleted."""
    key = parse_key(str(image.recipe.get("source_image") or ""))
    return Image.objects.readable_by(user).kept().filter(pk=key).first() if key else None


def _told(parent: Image, user: User, identity: Identity, left: int) -> bytes | None:
    """The parent, signed as a download without its recipe would be: an edit never carries another picture's recipe."""
    try:
        png = bytes_of(picture_outgoing(image=parent, with_recipe=False))
    except OSError:
        return None  # its file is gone: the edit is not to blame
    return _signed(parent, png, user, identity, with_recipe=False, left=left)
