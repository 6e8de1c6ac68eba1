"""Image files of the formats that a shard may hold, told by their content and never by their name."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

# Pillow's other decoders stay out: some (EPS) start a program of their own. A phone's JPEG may open as MPO.
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_DECODERS = ("JPEG", "PNG", "WEBP")


class BadImage(Exception):
    """Bytes that are no usable image; the text is the same each time they are read."""


def open_image(data: bytes) -> Image.Image:
    """Read an image file's header; its pixels are decoded when they are asked for.

    Raises:
        BadImage: it is no JPEG, PNG or WebP file, or claims more pixels than Pillow holds safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=_DECODERS)
    except UnidentifiedImageError as error:
        # Pillow's own text names the buffer's address, which differs from run to run.
        raise BadImage(f"{_what_it_is(data)}, expected a JPEG, PNG or WebP file") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        raise BadImage(first_line(error)) from error


def decode_rgb(data: bytes) -> Image.Image:
    """An RGB image, decoded to its last row.

    Raises:
        BadImage: the file is damaged or cut, or of another format.
    """
    image = open_image(data)
    try:
        return image.convert("RGB")
    except Exception as error:
        raise BadImage(first_line(error)) from error


def image_suffix(data: bytes) -> str:
    """The member ending that an image file's content calls for: jpg, png or webp.

    Raises:
        BadImage: it is of no such format.
    """
    return _SUFFIXES[str(open_image(data).format)]


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _what_it_is(data: bytes) -> str:
    if not data:
        return "0 bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return f"a {Image.open(io.BytesIO(data)).format} file"
    except Exception:
        return "no image"
