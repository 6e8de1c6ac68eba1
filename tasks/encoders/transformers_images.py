"""How images reach a model: transformers' `preprocessor_config.json` and open_clip's `preprocess_cfg`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_specs.errors import SpecError
from tasks.encoders.model_json import read_json

PREPROCESSOR = "preprocessor_config.json"
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}


def preprocessing(folder: Path, image_size: int) -> dict[str, Any]:
    """The `preprocess_cfg` that a folder's `preprocessor_config.json` asks for; empty without that file.

    Args:
        folder: of the checkpoint.
        image_size: pixels a side that the vision tower takes.

    Returns:
        Mean, standard deviation, interpolation and way of resizing, as far as the file gives them.

    Raises:
        SpecError: open_clip's preprocessing cannot do what it asks for.
    """
    path = folder / PREPROCESSOR
    if not path.is_file():
        return {}
    return preprocessing_asked(read_json(path, "model.weights"), image_size, f"model.weights: {path}")


def preprocessing_asked(content: Mapping[str, Any], image_size: int, where: str) -> dict[str, Any]:
    """The `preprocess_cfg` that the content of a `preprocessor_config.json` asks for; `where` it lies is for errors.

    Raises:
        SpecError: open_clip's preprocessing cannot do what it asks for.
    """
    cropped = content.get("do_center_crop", True)
    size, crop = _sides(content.get("size")), _sides(content.get("crop_size"))
    whole, shortest = [image_size, image_size], [image_size]
    fits = size in (None, shortest, whole) and crop in (None, shortest, whole) if cropped else size in (None, whole)
    if not fits:
        raise SpecError(
            f"{where} asks for size {content.get('size')} and crop_size {content.get('crop_size')}"
            f" (do_center_crop {cropped}), but the vision tower takes {image_size} by {image_size} pixels"
        )
    interpolation = _INTERPOLATIONS.get(content.get("resample", 3))
    if interpolation is None or not content.get("do_rescale", True):
        raise SpecError(
            f"{where} asks for resample {content.get('resample')} and do_rescale"
            f" {content.get('do_rescale', True)}; known are resample 2 (bilinear) and 3 (bicubic), with do_rescale"
        )
    normalised = content.get("do_normalize", True)
    chosen = {
        "mean": content.get("image_mean") if normalised else [0.0, 0.0, 0.0],
        "std": content.get("image_std") if normalised else [1.0, 1.0, 1.0],
        "interpolation": interpolation,
        "resize_mode": "squash" if size == whole else "shortest",
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _sides(size: Any) -> list[Any] | None:
    if isinstance(size, Mapping):
        return [size["shortest_edge"]] if "shortest_edge" in size else [size.get("height"), size.get("width")]
    return None if size is None else [size]


def preprocessor_config(preprocess_cfg: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """The `preprocessor_config.json` under which transformers treats images as open_clip does.

    Args:
        preprocess_cfg: of an `open_clip_config.json`; what it leaves out is open_clip's default.
        image_size: pixels a side that the vision tower takes.

    Returns:
        The content; `CLIPImageProcessor.from_pretrained` takes it.

    Raises:
        SpecError: transformers has no such way of resizing.
    """
    from open_clip.transform import PreprocessCfg

    asked = asdict(PreprocessCfg()) | dict(preprocess_cfg)
    resample = {name: number for number, name in _INTERPOLATIONS.items()}.get(asked["interpolation"])
    if resample is None or asked["resize_mode"] not in ("shortest", "squash"):
        raise SpecError(
            f"transformers cannot prepare images by interpolation {asked['interpolation']!r} and resize_mode"
            f" {asked['resize_mode']!r}; known are bilinear or bicubic, and shortest or squash"
        )
    whole = {"height": image_size, "width": image_size}
    squashed = asked["resize_mode"] == "squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": whole if squashed else {"shortest_edge": image_size},
        "resample": resample,
        "do_center_crop": not squashed,
        "crop_size": whole,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(asked["mean"]),
        "image_std": list(asked["std"]),
    }
