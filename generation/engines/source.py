"""The picture a wish starts from: bytes to an upright RGB picture that fills the canvas."""

from io import BytesIO

from PIL import Image, ImageOps

from generation.engines.errors import InvalidParamsError

MOST_PIXELS = 40_000_000


def open_source(data: bytes, width: int, height: int) -> Image.Image:
    """Scaled to cover the canvas, centred, what is transparent on white. Raises InvalidParamsError."""
    return ImageOps.fit(open_picture(data), (width, height), Image.Resampling.LANCZOS)


def open_picture(data: bytes) -> Image.Image:
    """In its own size, what is transparent on white. Raises InvalidParamsError."""
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InvalidParamsError("The picture to start from has over 40 megapixels.")
            upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidParamsError("The picture to start from cannot be read.", hint="Use PNG, JPEG or WebP.") from error
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright).convert("RGB")
