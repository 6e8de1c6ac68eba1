"""From a member's bytes to an image, a caption or a tag, or a bad sample with its reason."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from data_specs.json_text import shallow_json
from data_specs.run_config import Decoder
from data_specs.samples import CLASS_SUFFIX, LONGEST_CAPTION, LONGEST_TAG, LONGEST_WORD, TAG_SUFFIX
from tasks.shards.images import BadImage, decode_jpeg_pixels, decode_rgb
from tasks.shards.plan import BadSample

_TOO_LONG_WORD = re.compile(rf"[A-Za-z]{{{LONGEST_WORD + 1}}}")


class Undecodable(Exception):
    """A member that holds no input."""

    def __init__(self, sample: BadSample) -> None:
        super().__init__(sample.reason)
        self.sample = sample


def decode_image(data: bytes, *, key: str, name: str) -> Image.Image:
    """An RGB image from its file's bytes, decoded to the last row."""
    try:
        return decode_rgb(data)
    except BadImage as error:
        raise Undecodable(BadSample(key, "undecodable image", f"{name}: {error}")) from error


def decode_pixels(data: bytes, *, key: str, name: str) -> Tensor | Image.Image:
    """As `decode_image`, a JPEG as [3, height, width] uint8; bad for the same reasons."""
    try:
        return decode_jpeg_pixels(data)
    except BadImage as error:
        raise Undecodable(BadSample(key, "undecodable image", f"{name}: {error}")) from error


def decode_caption(data: bytes, *, key: str, name: str) -> str:
    """A caption from its file's bytes, without surrounding white space."""
    try:
        caption = data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Undecodable(BadSample(key, "undecodable caption", f"{name}: {error}")) from error
    if not caption:
        raise Undecodable(BadSample(key, "empty caption", name))
    if len(caption) > LONGEST_CAPTION:
        detail = f"{name} has {len(caption)} characters, expected at most {LONGEST_CAPTION}"
        raise Undecodable(BadSample(key, "member too large", detail))
    if _TOO_LONG_WORD.search(caption):
        detail = f"{name} has a word of over {LONGEST_WORD} letters"
        raise Undecodable(BadSample(key, "member too large", detail))
    return caption


DECODERS: Mapping[Decoder, Callable[..., Any]] = {"pillow": decode_image, "torchvision": decode_pixels}


def sample_tag(sample: Mapping[str, Any]) -> str | None:
    """A sample's tag, or its class number where it has one; None where it has neither."""
    if CLASS_SUFFIX in sample:
        return sample[CLASS_SUFFIX].decode("ascii", errors="replace").strip()  # type: ignore[no-any-return]
    if TAG_SUFFIX not in sample:
        return None
    try:
        tag = json.loads(shallow_json(sample[TAG_SUFFIX]))["tag"]
        if tag is not None and not isinstance(tag, str):
            raise TypeError(f"tag is {type(tag).__name__}, not a string")
        if tag is not None:
            tag.encode()  # JSON can spell half a surrogate pair, which no file of ours can hold
    except KeyError:
        return None
    except (ValueError, TypeError) as error:
        raise Undecodable(BadSample(sample["__key__"], "undecodable tag", str(error))) from error
    if tag is not None and len(tag) > LONGEST_TAG:
        detail = f"the tag has {len(tag)} characters, expected at most {LONGEST_TAG}"
        raise Undecodable(BadSample(sample["__key__"], "member too large", detail))
    return tag
