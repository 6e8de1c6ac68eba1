"""What another decoder gives: JPEGs to a model's inputs, by Pillow over torchvision."""

import io
from typing import Any

import numpy as np
from open_clip.transform import image_transform
from PIL import Image

from tasks.encoders.pixels import PixelTransform
from tasks.shards.images import decode_jpeg_pixels, decode_rgb
from tests.benchmarks.timing import by_turns, one_thread, ratio

_PICTURES = 16


def decoder_speedup() -> dict[str, Any]:
    """JPEGs of 512 and of 1,024 pixels to inputs of 224, one thread; the least of both."""
    preprocess = image_transform(224, False)
    of_pixels = PixelTransform(preprocess)
    found, taken = {}, {}
    with one_thread():
        for size in (512, 1024):
            files = [_jpeg(size, seed) for seed in range(_PICTURES)]
            slow, fast = by_turns(
                lambda files=files: [preprocess(decode_rgb(data)) for data in files],
                lambda files=files: [of_pixels(decode_jpeg_pixels(data)) for data in files],
                repeats=7,
            )
            found[f"of_{size}"] = slow / fast
            taken |= {f"pillow_ms_{size}": 1e3 * slow / _PICTURES, f"torchvision_ms_{size}": 1e3 * fast / _PICTURES}
    return ratio(min(found.values()), ">= 1.4", **found, **taken)


def _jpeg(size: int, seed: int) -> bytes:
    rough = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rough).resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
