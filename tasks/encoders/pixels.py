"""A model's preprocessing for pictures that are tensors already."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from data_specs.errors import SpecError
from tasks.encoders.architecture import Preprocess

_Step = Callable[[Tensor], Tensor]


class PixelTransform:
    """The steps of open_clip's preprocessing on pixels; a picture that is no tensor goes through the original.

    Resizing takes Pillow's kernels, stretched by the scale, rows before columns. Values differ from Pillow's by one 8-bit
    step, rarely two; in some pictures that are taller than wide, whose columns Pillow resizes first, by more at hard edges.
    """

    def __init__(self, preprocess: Preprocess) -> None:
        """Follow `preprocess`.

        Raises:
            SpecError: it has a step that is known for Pillow's pictures only.
        """
        self._of_pictures = preprocess
        self._steps = [_of_pixels(step) for step in getattr(preprocess, "transforms", [preprocess])]

    def __call__(self, picture: Any) -> Tensor:
        """The model's input [3, height, width] float32 of an RGB image, or of [3, rows, columns] uint8."""
        if not isinstance(picture, Tensor):
            made: Tensor = self._of_pictures(picture)
            return made
        pixels = picture
        for step in self._steps:
            pixels = step(pixels)
        return pixels


def _of_pixels(step: Any) -> _Step:
    from open_clip.transform import CenterCropOrPad, MaybeConvertMode, MaybeToTensor, ResizeKeepRatio
    from torchvision.transforms import CenterCrop, Normalize, Resize

    match step:
        case Resize():
            return partial(_resized, size=step.size, step=step)
        case ResizeKeepRatio():
            return partial(_resized_keeping_ratio, step=step)
        case MaybeToTensor():
            return _scaled
        case MaybeConvertMode() | CenterCrop() | CenterCropOrPad() | Normalize():
            unchanged: _Step = step
            return unchanged
    raise SpecError(
        f"decoder is torchvision, but the model's preprocessing has {type(step).__name__}, which is known for Pillow's pictures"
        " only; set decoder: pillow"
    )


def _resized(pixels: Tensor, *, size: Any, step: Any) -> Tensor:
    from torchvision.transforms.v2.functional import resize

    max_size = getattr(step, "max_size", None)
    sides = [size] if isinstance(size, int) else list(size)
    found: Tensor = resize(pixels, sides, interpolation=step.interpolation, max_size=max_size, antialias=True)
    return found


def _resized_keeping_ratio(pixels: Tensor, *, step: Any) -> Tensor:
    rows, columns = pixels.shape[-2:]
    size = step.get_params(SimpleNamespace(size=(columns, rows)), step.size, step.longest)
    return _resized(pixels, size=size, step=step)


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.contiguous().to(torch.float32).div_(255)
