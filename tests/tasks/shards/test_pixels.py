"""Pictures of every mode: their intensities reach the model, or they are bad samples with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tasks.shards.images import BadImage, decode_rgb

RNG = np.random.default_rng(0)
GREY16 = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)
RGB = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (9, 7, 1), dtype=np.uint8)


def saved(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def png(pixels, colour_type):
    """A PNG of 16 bits a channel, written out by hand: Pillow writes few of them. `pixels` is [rows, columns, channels]."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, columns = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", columns, rows, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey(values):
    return np.repeat(values[..., None], 3, axis=2)


def eight_bit(values):
    return np.round(values / 257)


WIDE = RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
RIGHT = {
    "1": (
        saved(Image.fromarray(RGB[..., 0]).convert("1")),
        grey(np.asarray(Image.fromarray(RGB[..., 0]).convert("1")) * 255),
    ),
    "L": (saved(Image.fromarray(RGB[..., 0])), grey(RGB[..., 0])),
    "LA": (saved(Image.fromarray(np.concatenate([RGB[..., :1], ALPHA], axis=2), "LA")), grey(RGB[..., 0])),
    "RGB": (saved(Image.fromarray(RGB)), RGB),
    "RGBA": (saved(Image.fromarray(np.concatenate([RGB, ALPHA], axis=2))), RGB),
    "16-bit grey": (saved(Image.fromarray(GREY16)), grey(eight_bit(GREY16))),
    "16-bit grey by hand": (png(GREY16[..., None], 0), grey(eight_bit(GREY16))),
    "16-bit grey and alpha": (png(WIDE[..., :2], 4), grey(eight_bit(WIDE[..., 0]))),
    "16-bit RGB": (png(WIDE[..., :3], 2), eight_bit(WIDE[..., :3])),
    "16-bit RGBA": (png(WIDE, 6), eight_bit(WIDE[..., :3])),
    "lossless WebP with alpha": (
        saved(
            Image.fromarray(np.concatenate([RGB, np.full_like(ALPHA, 200)], axis=2)), "WEBP", lossless=True, exact=True
        ),
        RGB,
    ),
    "animated PNG": (saved(Image.fromarray(RGB), save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB),
    "turned by EXIF": (saved(Image.fromarray(RGB), exif=Image.Exif()), RGB),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_intensities_are_those_of_the_file(kind):
    data, expected = RIGHT[kind]
    found = np.asarray(decode_rgb(data)).astype(float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1


def test_a_palette_gives_its_colours_and_its_transparency_is_dropped():
    image = Image.fromarray(RGB).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(decode_rgb(saved(image))), expected)
    assert np.array_equal(np.asarray(decode_rgb(saved(image, transparency=3))), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_nothing_as_in_open_clip(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(decode_rgb(saved(Image.fromarray(RGB), exif=exif))), RGB)


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_jpegs_keep_their_colours(mode):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.stack(
        [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90, np.uint8)], axis=2
    )
    image = Image.fromarray(smooth).convert(mode)
    expected = np.asarray(image.convert("RGB")).astype(float)
    assert np.abs(np.asarray(decode_rgb(saved(image, "JPEG", quality=98))) - expected).mean() < 3


def test_a_phones_two_pictures_in_one_file_give_the_first():
    images = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (40, 200)]
    data = saved(images[0], "MPO", save_all=True, append_images=images[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert abs(np.asarray(decode_rgb(data)).mean() - 40) < 2


@pytest.mark.parametrize("mode", ["F", "I", "LAB", "I;16B"])
def test_a_file_of_another_format_is_a_bad_image_whatever_its_mode(mode):
    image = Image.fromarray(RGB).convert("LAB") if mode == "LAB" else Image.fromarray(GREY16.astype(np.float32))
    image = image.convert("I") if mode == "I" else image
    with pytest.raises(BadImage, match="a TIFF file, expected a JPEG, PNG or WebP file"):
        decode_rgb(saved(image, "TIFF"))


@pytest.mark.parametrize("size", [(30_000, 1), (1, 30_000), (5_001, 100)])
def test_a_thin_picture_is_a_bad_image_before_anything_is_enlarged(size):
    with pytest.raises(BadImage, match=rf"{size[0]} x {size[1]} pixels, one side is over 50 times the other"):
        decode_rgb(saved(Image.new("RGB", size)))


def test_a_panorama_is_read():
    assert decode_rgb(saved(Image.new("RGB", (5_000, 100)))).size == (5_000, 100)
