"""Image files of the formats that a shard may hold, told by their content and never by their name."""

import io
import warnings

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from data_specs.samples import LARGEST_SIDE_RATIO
from data_specs.wording import first_line
from tasks.shards.image_parts import TooManyParts, require_few_parts

# Pillow's other decoders stay out: some (EPS) start a program of their own. A phone's JPEG may open as MPO.
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_DECODERS = ("JPEG", "PNG", "WEBP")
_JPEGS = ("JPEG", "MPO")
_JPEG_MODES = ("L", "RGB")  # torchvision converts CMYK by another formula
# Of these Pillow's own conversion keeps intensities; alpha is dropped, as open_clip does.
_EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_WHITE = 0xFFFF


class BadImage(Exception):
    """Bytes that are no usable image; the text is the same each time they are read."""


def open_image(data: bytes) -> Image.Image:
    """Read an image file's header; its pixels are decoded when they are asked for.

    Raises:
        BadImage: it is no JPEG, PNG or WebP file, has far more parts than usual, or claims more pixels than Pillow
            holds safe.
    """
    try:
        require_few_parts(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=_DECODERS)
    except TooManyParts as error:
        raise BadImage(str(error)) from error
    except UnidentifiedImageError as error:
        # Pillow's own text names the buffer's address, which differs from run to run.
        raise BadImage(f"{_what_it_is(data)}, expected a JPEG, PNG or WebP file") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        raise BadImage(first_line(error)) from error


def decode_rgb(data: bytes, *, largest_ratio: int | None = LARGEST_SIDE_RATIO) -> Image.Image:
    """An RGB image, decoded to its last row: the first picture of several, without alpha, not turned by EXIF.

    Args:
        data: an image file.
        largest_ratio: of its longer to its shorter side; None where it will not be enlarged.

    Raises:
        BadImage: the file is damaged or cut, of another format, too thin, or its intensities have no known range.
    """
    image = _opened(data, largest_ratio)
    try:
        return _eight_bit(image).convert("RGB")
    except (BadImage, MemoryError):
        raise
    except Exception as error:
        raise BadImage(first_line(error)) from error


def decode_jpeg_pixels(data: bytes) -> Tensor | Image.Image:
    """The same pixels as `decode_rgb` in less time: torchvision decodes JPEGs of grey or colour, Pillow all else.

    Args:
        data: an image file.

    Returns:
        [3, height, width] uint8, or an RGB image where it is no such JPEG, or one that torchvision refuses.

    Raises:
        BadImage: as of `decode_rgb`.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    image = _opened(data, LARGEST_SIDE_RATIO)
    if image.format in _JPEGS and image.mode in _JPEG_MODES:
        try:
            pixels: Tensor = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except RuntimeError:  # Pillow reads on where it can, and knows the reason where it cannot
            return decode_rgb(data)
        if pixels.shape == (3, image.height, image.width):
            return pixels
    return decode_rgb(data)


def _opened(data: bytes, largest_ratio: int | None) -> Image.Image:
    image = open_image(data)
    short, long = sorted(image.size)
    if largest_ratio is not None and long > largest_ratio * short:
        raise BadImage(f"{image.width} x {image.height} pixels, one side is over {largest_ratio} times the other")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode that Pillow converts as it should: of 16-bit grey it would cut off all above 255."""
    if image.mode == "P":
        _require_colours(image)
    if image.mode in _EIGHT_BIT:
        return image
    if image.mode not in (*_SIXTEEN_BIT, "I"):
        raise BadImage(f"pixels of mode {image.mode}, whose range is not known; save it with 8 or 16 bits a channel")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _WHITE:
        raise BadImage(f"pixels from {values.min()} to {values.max()}, expected 0 to {_WHITE}")
    return Image.fromarray(((values * 255 + _WHITE // 2) // _WHITE).astype(np.uint8))


def _require_colours(image: Image.Image) -> None:
    # Counted before the pixels are read: then Pillow fills the palette up to 256 colours, with greys.
    n_colours = len(image.palette.getdata()[1]) // 3 if image.palette else 0
    largest = int(np.asarray(image).max())
    if largest >= n_colours:
        raise BadImage(f"a pixel has colour {largest} of a palette of {n_colours}")


def image_suffix(data: bytes) -> str:
    """The member ending that an image file's content calls for: jpg, png or webp.

    Raises:
        BadImage: it is of no such format.
    """
    return _SUFFIXES[str(open_image(data).format)]


def _what_it_is(data: bytes) -> str:
    if not data:
        return "0 bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return f"a {Image.open(io.BytesIO(data)).format} file"
    except Exception:
        return "no image"
