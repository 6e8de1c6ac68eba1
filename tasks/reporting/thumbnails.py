"""Pictures small enough to tell what they show, and no larger."""

import io

from PIL import Image

from data_specs.gallery import THUMBNAIL_PX
from data_specs.run_config import Content
from tasks.shards.images import decode_rgb

_QUALITY = 80


def thumbnail(data: bytes, content: Content) -> bytes:
    """A JPEG of at most THUMBNAIL_PX on its longest side.

    An unsafe picture always loses at least a quarter of its width and height, so that even a small
    one is never kept at full size.

    Args:
        data: an image file.
        content: of the picture.

    Returns:
        A JPEG file with nothing in it but pixels; the same picture gives the same bytes.

    Raises:
        BadImage: the file is damaged or of another format.
    """
    image = decode_rgb(data, largest_ratio=None)
    longest = max(image.size)
    limit = min(THUMBNAIL_PX, longest if content == "safe" else max(1, longest * 3 // 4))
    image.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    # Pillow would carry a JPEG's comment over, which may say or hold anything.
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()
