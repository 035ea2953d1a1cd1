"""Pictures that people hand in. Judged by their first bytes before anything is decoded, then encoded anew by us.

What is kept is pixels only: no metadata, no profile, no trailing bytes of the original.
"""

import hashlib
import io
import struct
import threading
import uuid
from dataclasses import dataclass
from typing import IO

from django.conf import settings
from django.db import DatabaseError
from PIL import Image as Picture
from PIL import ImageCms

from accounts.models import User
from core.errors import TesseraError
from generation import storage
from generation.models import Upload

FORMATS = ("PNG", "JPEG", "WEBP")
FORMATS_HINT = "Use a PNG, JPEG or WebP picture."
# The largest edge that any checkpoint could use; more would only fill the disk.
KEPT_EDGE = 2048
# Our own check comes first and follows the setting; Pillow's guard stays behind it as a second one.
Picture.MAX_IMAGE_PIXELS = max(settings.UPLOAD_MAX_PIXELS, Picture.MAX_IMAGE_PIXELS or 0)
# Pillow raises these for bytes that end too soon or make no sense.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError)


# A small file can decode to hundreds of megabytes, so the web process holds one decoded picture at a time.
_DECODING = threading.BoundedSemaphore(1)
ORIENTATION = 0x0112
TURNS = {
    2: Picture.Transpose.FLIP_LEFT_RIGHT,
    3: Picture.Transpose.ROTATE_180,
    4: Picture.Transpose.FLIP_TOP_BOTTOM,
    5: Picture.Transpose.TRANSPOSE,
    6: Picture.Transpose.ROTATE_270,
    7: Picture.Transpose.TRANSVERSE,
    8: Picture.Transpose.ROTATE_90,
}


class UploadRefusedError(TesseraError):
    """The file cannot be used as a picture."""

    code = "upload_refused"
    status = 422


@dataclass(frozen=True, slots=True)
class Pixels:
    """A decoded picture, encoded anew."""

    png: bytes
    width: int
    height: int


def upload_store(*, user: User, file: IO[bytes], size: int) -> Upload:
    """Keep a picture privately for `user`. Raises UploadRefusedError with the reason."""
    check_bytes(size)
    pixels = _decode(file)
    key = uuid.uuid4()
    relative = f"{storage.UPLOADS}/{key.hex[:2]}/{key}.png"
    storage.write(relative, pixels.png)
    try:
        return Upload.objects.create(
            id=key,
            owner=user,
            file=relative,
            sha256=hashlib.sha256(pixels.png).hexdigest(),
            width=pixels.width,
            height=pixels.height,
            size_bytes=len(pixels.png),
        )
    except DatabaseError:
        storage.delete_upload(relative)
        raise


def check_bytes(size: int) -> None:
    """Refuse an empty file and one that is too large, before it is read."""
    if size <= 0:
        raise UploadRefusedError("The file is empty.", hint=FORMATS_HINT, code="upload_empty")
    if size > settings.UPLOAD_MAX_BYTES:
        most = settings.UPLOAD_MAX_BYTES // (1024 * 1024)
        raise too_large(f"The file has {size / 1024 / 1024:.0f} MB; {most} MB is the most.")


def too_large(message: str) -> UploadRefusedError:
    """More bytes or pixels than are taken."""
    error = UploadRefusedError(message, hint="Make it smaller and hand it in again.", code="upload_too_large")
    error.status = 413
    return error


def _decode(file: IO[bytes]) -> Pixels:
    file.seek(0)
    _check_head(file.read(4096))
    file.seek(0)
    with _DECODING:
        return _decode_checked(file)


def _decode_checked(file: IO[bytes]) -> Pixels:
    try:
        # Open reads the header only; `formats` keeps every other parser of Pillow out of reach.
        with Picture.open(file, formats=FORMATS) as picture:
            _check_pixels(*picture.size)
            # A phone's JPEG with a second picture inside (MPO) has frames too, but its first one is the photo.
            if picture.format in {"PNG", "WEBP"} and getattr(picture, "is_animated", False):
                raise _animated()
            return _encode(_plain(picture))
    except (Picture.DecompressionBombError, Picture.DecompressionBombWarning) as error:
        raise too_large(_pixels_sentence("too many")) from error
    except BROKEN as error:
        raise _broken() from error


def _check_head(head: bytes) -> None:
    """What the first bytes tell. WebP is read here, because Pillow would set up the whole canvas to do so."""
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        return  # before the words below are looked for: a photo may carry them in its metadata
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        _check_webp(head)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        raise UploadRefusedError(
            "GIF pictures, animated or not, are not taken.", hint=FORMATS_HINT, code="upload_format"
        )
    elif b"<svg" in head.lower():
        raise UploadRefusedError(
            "An SVG is a drawing made of instructions, not of pixels.", hint=FORMATS_HINT, code="upload_format"
        )
    else:
        raise UploadRefusedError("This file is no picture that can be read.", hint=FORMATS_HINT, code="upload_format")


def _check_webp(head: bytes) -> None:
    if head[12:16] == b"VP8X" and len(head) >= 30:
        if head[20] & 0x02:
            raise _animated()
        _check_pixels(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    elif head[12:16] == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        _check_pixels((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif head[12:16] == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack_from("<HH", head, 26)
        _check_pixels(width & 0x3FFF, height & 0x3FFF)
    else:
        raise _broken()


def _check_pixels(width: int, height: int) -> None:
    if width * height > settings.UPLOAD_MAX_PIXELS:
        raise too_large(_pixels_sentence(f"{width} x {height}"))


def _pixels_sentence(found: str) -> str:
    return f"The picture has {found} pixels; {settings.UPLOAD_MAX_PIXELS // 1_000_000} megapixels is the most."


def _animated() -> UploadRefusedError:
    return UploadRefusedError(
        "The picture is animated.", hint="Hand in one frame of it as a still picture.", code="upload_animated"
    )


def _broken() -> UploadRefusedError:
    return UploadRefusedError(
        "The picture is damaged or was cut short.",
        hint="Open it, save it anew and hand it in again.",
        code="upload_broken",
    )


def _plain(picture: Picture.Image) -> Picture.Image:
    """Small enough, upright, sRGB, on white where it was transparent. Made smaller first: every step makes a copy."""
    _shrink(picture)
    profile = picture.info.get("icc_profile")
    small: Picture.Image = picture
    if picture.mode.startswith("I"):  # 16 bit a pixel: Pillow would clip, not scale
        small = picture.convert("I").point(lambda value: value / 256).convert("L")
    small = _upright(small, picture)
    if small.has_transparency_data:
        layer = small.convert("RGBA")
        small = Picture.alpha_composite(Picture.new("RGBA", layer.size, "white"), layer).convert("RGB")
    elif profile and small.mode in {"RGB", "CMYK"}:
        small = _to_srgb(small, profile)
    return small.convert("RGB")


def _shrink(picture: Picture.Image) -> None:
    ratio = max(picture.size) / KEPT_EDGE
    if ratio > 1:
        # A JPEG is decoded at half its size or less where that is enough; for all others this does nothing.
        picture.draft(None, (int(picture.width / ratio), int(picture.height / ratio)))
    picture.load()
    picture.thumbnail((KEPT_EDGE, KEPT_EDGE), Picture.Resampling.LANCZOS)


def _upright(small: Picture.Image, picture: Picture.Image) -> Picture.Image:
    """Turned as its EXIF says. Only that one tag is read: others may hold anything."""
    try:
        turn = TURNS.get(picture.getexif().get(ORIENTATION, 1))
    except (*BROKEN, TypeError, KeyError):
        turn = None  # broken EXIF does not make a broken picture
    return small if turn is None else small.transpose(turn)


def _to_srgb(picture: Picture.Image, profile: bytes) -> Picture.Image:
    try:
        converted = ImageCms.profileToProfile(
            picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return picture  # a broken profile: the plain numbers are as good as can be
    return converted or picture


def _encode(picture: Picture.Image) -> Pixels:
    # A fresh picture: nothing of `info` (EXIF, text, profile) can travel along.
    clean = Picture.new("RGB", picture.size)
    clean.paste(picture)
    data = io.BytesIO()
    clean.save(data, "PNG")
    return Pixels(data.getvalue(), *clean.size)
