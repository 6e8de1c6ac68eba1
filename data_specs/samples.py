"""The sample format inside a shard: member names, what each encoder needs, and why a sample is refused."""

import re
from typing import Literal

from data_specs.run_config import CONTENTS, Content, Encoder

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
TEXT_SUFFIX = "txt"
TAG_SUFFIX = "json"
# Zero-shot data sets: the class number, which takes the tag's place.
CLASS_SUFFIX = "cls"

BadReason = Literal[
    "missing member",
    "duplicate key",
    "members not adjacent",
    "undecodable image",
    "empty caption",
    "undecodable caption",
    "undecodable tag",
    "invalid member name",
    "member too large",
    "sparse member",
]

# No single sample costs more than a bounded multiple of a usual one. A photograph of 100 megapixels has some 50 MB,
# a tokenizer reads some 300 characters and takes time that grows with the square of a word's length.
LARGEST_MEMBER_BYTES: dict[str, int] = {
    **dict.fromkeys(IMAGE_SUFFIXES, 128 << 20),
    TEXT_SUFFIX: 64 << 10,
    TAG_SUFFIX: 1 << 20,
    CLASS_SUFFIX: 64,
}
LONGEST_CAPTION = 10_000
# A byte-pair tokenizer's work grows with the square of a Latin word; Chinese and Thai, without spaces, cost little.
LONGEST_WORD = 1000
# A tag is a label, which is written in every row of the statistics.
LONGEST_TAG = 1000
LONGEST_KEY_BYTES = 1024
# A picture's shorter side is brought to the model's size before the crop, so a thin one is enlarged by its ratio.
LARGEST_SIDE_RATIO = 50
# Segments of a JPEG before its pixels, or chunks of a PNG: encoders write one for some kilobytes of pixels.
MOST_IMAGE_PARTS = 100_000
# Each scan of a progressive JPEG passes over all pixels, though it may be a few bytes. Encoders write about ten.
MOST_JPEG_SCANS = 64

# webdataset cuts a member's name at the first dot of its base name, so a dot in a key would split it.
VALID_KEY = re.compile(r"^[^./\x00-\x1f\x7f][^.\x00-\x1f\x7f]*$")


def content_prefix(content: Content, *, paired: bool) -> str:
    """What stands before a member's ending: `safe.`, `unsafe.`, or nothing in an unpaired shard."""
    return f"{content}." if paired else ""


def needed_contents(content: Content | None) -> tuple[Content, ...]:
    """The sides that a sample must hold: both in a paired shard, else the shard's own."""
    return CONTENTS if content is None else (content,)


def member_names(encoder: Encoder, content: Content, *, paired: bool) -> tuple[str, ...]:
    """The names under which a sample may hold one side's input for one encoder, best first.

    Args:
        encoder: text or vision.
        content: safe or unsafe.
        paired: whether the shard holds both sides under one key.

    Returns:
        Member names without the key, such as `safe.jpg`.
    """
    suffixes = IMAGE_SUFFIXES if encoder == "vision" else (TEXT_SUFFIX,)
    prefix = content_prefix(content, paired=paired)
    return tuple(prefix + suffix for suffix in suffixes)
