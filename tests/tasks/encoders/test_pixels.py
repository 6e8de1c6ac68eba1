"""Preprocessing of pictures that torchvision decoded: what Pillow gives, within 8-bit rounding."""

import io

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import Compose, GaussianBlur

from data_specs.errors import SpecError
from tasks.encoders.pixels import PixelTransform
from tasks.shards.images import BadImage, decode_jpeg_pixels, decode_rgb

RNG = np.random.default_rng(0)
SIZES = [(512, 512), (333, 700), (40, 31), (1000, 50), (224, 224), (8, 8)]
DAMAGES = 400


def picture(size, mode="RGB"):
    """Random colours with soft and hard edges."""
    rough = RNG.integers(0, 256, (max(2, size[1] // 8), max(2, size[0] // 8), 3), dtype=np.uint8)
    return Image.fromarray(rough).resize(size, RNG.choice([0, 2, 3])).convert(mode)


def saved(image, format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def as_array(decoded):
    return decoded.permute(1, 2, 0).numpy() if isinstance(decoded, torch.Tensor) else np.asarray(decoded)


JPEGS = {
    "baseline": saved(picture((120, 90))),
    "progressive": saved(picture((120, 90)), progressive=True),
    "grey": saved(picture((120, 90), "L")),
    "all colours": saved(picture((121, 91)), subsampling=0),
    "half the colours": saved(picture((121, 91)), subsampling=1),
    "restarts": saved(picture((120, 90)), restart_marker_blocks=2),
    "kept as RGB": saved(picture((120, 90)), keep_rgb=True),
    "two pictures": saved(picture((64, 48)), "MPO", save_all=True, append_images=[picture((64, 48))]),
    **{f"orientation {turn}": saved(picture((120, 90)), exif=exif(turn)) for turn in range(1, 9)},
}
OTHERS = {
    "CMYK": saved(picture((120, 90), "CMYK")),
    "PNG": saved(picture((120, 90)), "PNG"),
    "PNG with alpha": saved(picture((120, 90), "RGBA"), "PNG"),
    "palette": saved(picture((120, 90)).quantize(16), "PNG"),
    "WebP": saved(picture((120, 90)), "WEBP"),
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_has_the_pixels_that_pillow_gives_and_is_not_turned(kind):
    found = decode_jpeg_pixels(JPEGS[kind])
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(as_array(found), np.asarray(decode_rgb(JPEGS[kind])))


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_grey_or_coloured_jpeg_goes_through_pillow(kind):
    found = decode_jpeg_pixels(OTHERS[kind])
    assert isinstance(found, Image.Image)
    assert np.array_equal(np.asarray(found), np.asarray(decode_rgb(OTHERS[kind])))


def damaged(data):
    data = bytearray(data)
    place = int(RNG.integers(len(data)))
    match RNG.integers(4):
        case 0:
            del data[place:]
        case 1:
            del data[place : place + int(RNG.integers(1, 40))]
        case 2:
            data[place] = RNG.integers(256)
        case _:
            del data[-int(RNG.integers(1, 30)) :]
    return bytes(data)


def outcome(decode, data):
    try:
        return as_array(decode(data)).tolist()
    except BadImage as error:
        return str(error)


@pytest.mark.slow
def test_a_damaged_picture_is_bad_for_the_same_reason_or_has_the_same_pixels():
    small = [saved(picture((40, 31)), progressive=progressive) for progressive in (False, True)]
    outcomes = []
    for number in range(DAMAGES):
        data = damaged(small[number % 2])
        outcomes.append(outcome(decode_rgb, data))
        assert outcome(decode_jpeg_pixels, data) == outcomes[-1]
    n_bad = sum(isinstance(each, str) for each in outcomes)
    assert DAMAGES / 5 < n_bad < DAMAGES


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, (224, 288), (96, 64)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_inputs_differ_from_pillows_by_8_bit_rounding(mode, interpolation, size):
    preprocess = image_transform(
        size, False, mean=(0.0,) * 3, std=(1.0,) * 3, resize_mode=mode, interpolation=interpolation, fill_color=90
    )
    of_pixels = PixelTransform(preprocess)
    for shape in SIZES:
        data = saved(picture(shape), quality=95)
        expected, found = preprocess(decode_rgb(data)), of_pixels(decode_jpeg_pixels(data))
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        steps = (255 * (found - expected)).abs()
        assert steps.mean() < 0.5
        if shape[0] >= shape[1]:
            assert steps.max() < 2.01
            assert (steps > 1.01).float().mean() < 0.002
        # Of some pictures that are taller than wide Pillow resizes columns before rows; hard edges then overshoot elsewhere.
        assert (steps > 2.01).float().mean() < 0.01


def test_means_and_deviations_are_those_of_the_model_and_other_pictures_go_the_old_way():
    preprocess = image_transform(32, False, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    of_pixels = PixelTransform(preprocess)
    grey = Image.new("RGB", (32, 32), (100, 150, 200))
    pixels = torch.from_numpy(np.array(grey)).permute(2, 0, 1)
    assert torch.equal(of_pixels(pixels), preprocess(grey))
    image = decode_jpeg_pixels(OTHERS["PNG"])
    assert torch.equal(of_pixels(image), preprocess(image))


def test_preprocessing_with_an_unknown_step_is_refused():
    with pytest.raises(SpecError, match="decoder is torchvision, but the model's preprocessing has GaussianBlur"):
        PixelTransform(Compose([GaussianBlur(3)]))
