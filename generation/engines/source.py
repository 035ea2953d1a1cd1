"""The picture a wish starts from, and its mask: bytes to an upright picture that fills the canvas."""

from io import BytesIO

from PIL import Image, ImageOps

from generation.engines.errors import InvalidParamsError

MOST_PIXELS = 40_000_000


def open_source(data: bytes, width: int, height: int) -> Image.Image:
    """RGB, scaled to cover the canvas, centred, what is transparent on white. Raises InvalidParamsError."""
    return ImageOps.fit(open_picture(data), (width, height), Image.Resampling.LANCZOS)


def open_picture(data: bytes) -> Image.Image:
    """In its own size, what is transparent on white. Raises InvalidParamsError."""
    return _on(data, "white", "picture to start from").convert("RGB")


def open_mask(data: bytes, width: int, height: int) -> Image.Image:
    """Gray, laid over the canvas as the source is, hard edges kept hard. Raises InvalidParamsError.

    What is transparent is black: it stays as it is.
    """
    return ImageOps.fit(_on(data, "black", "mask").convert("L"), (width, height), Image.Resampling.NEAREST)


def _on(data: bytes, ground: str, what: str) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InvalidParamsError(f"The {what} has over 40 megapixels.")
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidParamsError(f"The {what} cannot be read.", hint="Use PNG, JPEG or WebP.") from error
    return Image.alpha_composite(Image.new("RGBA", upright.size, ground), upright)
