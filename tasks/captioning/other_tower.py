"""The vision encoder of a CLIP in place of a captioner's own, for as long as that is looked through; never saved."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from data_specs.captioning import CaptioningConfig
from data_specs.errors import SpecError
from data_specs.wording import shown
from tasks.captioning.captioner import captioner_folder, held_as, read_tower_settings
from tasks.encoders.llava.folder import open_llava
from tasks.encoders.llava.names import as_in_tower, is_used
from tasks.encoders.loading import LoadedModel, ModelRef
from tasks.encoders.transformers_config import clip_config

_SETTING = "captioning.tower: model"
# What decides what a tower computes, beside its tensors.
_SAME = ("hidden_act", "layer_norm_eps", "num_attention_heads", "image_size", "patch_size")


@dataclass(frozen=True)
class OtherTower:
    """The vision encoder of a CLIP by value, edited or not, for any process that reaches its files."""

    model: ModelRef

    @contextmanager
    def __call__(self, tower: nn.Module) -> Iterator[None]:
        """Put it in, rounded to the tower's precision; afterwards the tower has its own values, bit for bit.

        Args:
            tower: of the CLIP's shape, in any float dtype and on any device.

        Raises:
            SpecError: a tensor has another shape, or a value does not fit the tower's precision.
        """
        held = {name: value for name, value in tower.state_dict().items() if is_used(name)}
        with self.model.opened() as loaded:
            given = as_in_tower(loaded.model.state_dict())
            _require_same_shapes({name: value.shape for name, value in held.items()}, given, loaded.source)
            # Copies: an edit of the model is taken back when the block ends.
            given = {name: _rounded(name, value, held[name].dtype, loaded.source) for name, value in given.items()}
        own = {name: value.clone() for name, value in held.items()}
        try:
            _put(held, given)
            yield
        finally:
            _put(held, own)


def require_fitting_tower(config: CaptioningConfig, loaded: LoadedModel) -> None:
    """Refuse a CLIP whose vision encoder cannot be put into a captioner, before anything is captioned; no model is loaded.

    Args:
        config: of the captioner.
        loaded: the CLIP.

    Raises:
        SpecError: the towers differ in more than their values, or a value does not fit the captioner's precision.
    """
    _require_same_kind(read_tower_settings(config), loaded)
    stored = open_llava(captioner_folder(config), "captioning.model").tower
    given = as_in_tower(loaded.model.state_dict())
    _require_same_shapes({name: value.shape for name, value in stored.items() if is_used(name)}, given, loaded.source)
    for name, value in given.items():
        _rounded(name, value, held_as(config), loaded.source)


def _require_same_kind(own: Mapping[str, Any], loaded: LoadedModel) -> None:
    # The text encoder may be any.
    theirs = clip_config({**loaded.architecture.model_cfg, "text_cfg": {}})["vision_config"]
    for name in _SAME:
        if own.get(name) != theirs[name]:
            raise SpecError(
                f"{_SETTING}: the vision encoder of model {shown(loaded.source)} has {name} {shown(theirs[name])}, the captioner's"
                f" {shown(own.get(name))}; put in a CLIP that differs in its values alone"
            )


def _require_same_shapes(own: Mapping[str, Sequence[int]], given: Mapping[str, Tensor], source: str) -> None:
    for name in sorted(own.keys() | given.keys()):
        ours, theirs = own.get(name), given[name].shape if name in given else None
        if ours is None or theirs is None or tuple(ours) != tuple(theirs):
            told = ["none" if shape is None else str([*shape]) for shape in (theirs, ours)]
            raise SpecError(
                f"{_SETTING}: {shown(name)} is {told[0]} in the vision encoder of model {shown(source)}, {told[1]} in the captioner's;"
                " only a tower of the same shape can be put in"
            )


def _rounded(name: str, value: Tensor, dtype: torch.dtype, source: str) -> Tensor:
    found = value.detach().to(dtype, copy=True)
    if not bool(torch.isfinite(found).all()):
        raise SpecError(
            f"{_SETTING}: {shown(name)} of model {shown(source)} does not fit {dtype}; use captioning.precision: bf16 or fp32"
        )
    return found


@torch.no_grad()
def _put(tower: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        tower[name].copy_(value)
