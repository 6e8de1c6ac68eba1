"""An edit: which weights are multiplied by alpha, and the values that stood there."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from data_specs.errors import ArtifactError
from data_specs.families import encoder_of
from data_specs.manifest import VERSION_PATTERN
from data_specs.run_config import ENCODERS, Rule
from data_specs.wording import shown
from tasks.encoders.checkpoint import model_digest, tensor_digests

LARGEST_ALPHA = 10  # the settings' bound, of either sign
CONTROL_RULE = "random"
_WEIGHT = ".weight"


@dataclass(frozen=True)
class LayerEdit:
    """Positions in one layer's weight, flat row-major int64 ascending, and the values that stood there."""

    encoder: str
    index: Tensor
    original: Tensor


@dataclass(frozen=True)
class Edit:
    """W[index] <- alpha W[index], layer by layer.

    `alpha`, `rule` and `tau` are by encoder; `base_model` is the digest of the only model that
    the edit may be applied to.
    """

    base_model: str
    layers: dict[str, LayerEdit]
    alpha: dict[str, float]
    rule: dict[str, str]
    tau: dict[str, float]


def require_sound(edit: Edit) -> None:
    """Refuse what can be no edit of any model.

    Raises:
        ArtifactError: positions are not ascending, a value or alpha is not finite, rule or tau are none of the
            settings', or the parts do not belong together.
    """
    if not re.fullmatch(VERSION_PATTERN, edit.base_model):
        raise _broken(f"its base model is {shown(edit.base_model)}, expected a SHA-256 in hexadecimal")
    if not edit.layers:
        raise _broken("it names no layer")
    for encoder, alpha in edit.alpha.items():
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= LARGEST_ALPHA:
            raise _broken(
                f"alpha of {encoder} is {shown(alpha)}, expected a number from -{LARGEST_ALPHA} to {LARGEST_ALPHA}"
            )
    for layer, change in edit.layers.items():
        _require_sound_layer(layer, change)
        if change.encoder not in edit.alpha:
            raise _broken(f"layer {layer} is of the {change.encoder} encoder, which has no alpha")
    _require_settings(edit)


def _require_settings(edit: Edit) -> None:
    for name, values in (("rule", edit.rule), ("tau", edit.tau)):
        if values.keys() != edit.alpha.keys() or not values.keys() <= set(ENCODERS):
            raise _broken(
                f"{name} is {shown(values)}, expected one of each encoder with an alpha, so {list(edit.alpha)}"
            )
    for encoder, rule in edit.rule.items():
        if rule not in (*get_args(Rule), CONTROL_RULE):
            raise _broken(f"rule of {encoder} is {shown(rule)}, expected {', '.join(get_args(Rule))} or {CONTROL_RULE}")
    for encoder, tau in edit.tau.items():
        if isinstance(tau, bool) or not isinstance(tau, int | float) or not 0 < tau < 1:
            raise _broken(f"tau of {encoder} is {shown(tau)}, expected a number between 0 and 1")


def _require_sound_layer(layer: str, change: LayerEdit) -> None:
    index, original = change.index, change.original
    if change.encoder not in ENCODERS or encoder_of(layer) != change.encoder:
        raise _broken(f"layer {layer} is said to be of encoder {change.encoder!r}")
    if (
        index.dtype != torch.int64
        or index.dim() != 1
        or not original.is_floating_point()
        or index.shape != original.shape
    ):
        raise _broken(
            f"layer {layer} has positions {index.dtype} {list(index.shape)} and values {original.dtype}"
            f" {list(original.shape)}, expected as many int64 as floats"
        )
    if len(index) and (int(index[0]) < 0 or not bool((index[1:] > index[:-1]).all())):
        raise _broken(f"layer {layer} has positions that are negative, unsorted or repeated")
    if not bool(torch.isfinite(original).all()):
        raise _broken(f"layer {layer} has original values that are NaN or infinite")


def _broken(what: str) -> ArtifactError:
    return ArtifactError(f"the edit is damaged: {what}; take it from its run again")


def changed_values(layer: str, change: LayerEdit, alpha: float, weight: Tensor) -> Tensor:
    """What an edit writes into one layer, float32 (or the wider type of the originals); see `rounding` for half precision.

    Args:
        layer: its name, for errors.
        change: positions and the values that must stand there.
        alpha: factor.
        weight: [out, in] of the model, any float dtype and device.

    Returns:
        alpha times the originals, [positions], on the CPU.

    Raises:
        ArtifactError: a position is outside of the layer, other values stand there, or the products do not fit the type.
    """
    require_originals(layer, change, weight)
    wide = change.original if change.original.dtype == torch.float64 else change.original.float()
    values = alpha * wide
    if not bool(torch.isfinite(values.to(weight.dtype)).all()):
        raise ArtifactError(
            f"layer {layer}: {alpha} times its weights does not fit {weight.dtype}; use a smaller alpha"
        )
    return values


def require_originals(layer: str, change: LayerEdit, weight: Tensor) -> None:
    """Refuse positions outside of a weight [out, in], and originals that are not what stands there, bit for bit.

    Raises:
        ArtifactError: one of these.
    """
    _require_inside(layer, change, weight)
    found = weight.detach().reshape(-1)[change.index.to(weight.device)].cpu()
    different = (_bits(found) != _bits(change.original)).nonzero()
    if len(different):
        first = int(different[0])
        raise _broken(
            f"at position {int(change.index[first])} of layer {layer} it says {float(change.original[first])!r}, the model"
            f" {float(found[first])!r} ({len(different)} of {len(found)} values differ)"
        )


def _require_inside(layer: str, change: LayerEdit, weight: Tensor) -> None:
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ArtifactError(
            f"the edit changes layer {layer}, whose weight is {weight.dtype} {list(weight.shape)}; it is for another model"
        )
    if len(change.index) and int(change.index[-1]) >= weight.numel():
        raise _broken(f"layer {layer} has position {int(change.index[-1])}, but only {weight.numel()} weights")


def _bits(values: Tensor) -> Tensor:
    # Half precision counts as the float32 of equal value, as in a model's digest.
    return values.view(torch.int64) if values.dtype == torch.float64 else values.float().view(torch.int32)


def apply_edit(edit: Edit, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The edited state dict; the one given stays as it is.

    Args:
        edit: what to change.
        state: tensors of the base model.

    Returns:
        All tensors; edited layers are copies.

    Raises:
        ArtifactError: `state` is another model, or the edit's values are not the model's.
    """
    require_base(edit, model_digest(tensor_digests(state)))

    def values_of(layer: str, change: LayerEdit, weight: Tensor) -> Tensor:
        return changed_values(layer, change, edit.alpha[change.encoder], weight)

    return _with_values(edit, state, values_of)


def require_base(edit: Edit, digest: str) -> None:
    """Refuse a model that is not the edit's, and an edit that is damaged.

    Raises:
        ArtifactError: `digest` is another model's, or the edit is none of any model.
    """
    require_sound(edit)
    if digest != edit.base_model:
        raise ArtifactError(
            f"the edit is for the model with digest {edit.base_model[:12]}, got one with {digest[:12]}; apply it to the"
            " unedited model that it was made for"
        )


def rounding(edit: Edit, state: Mapping[str, Tensor]) -> float:
    """How far an edited half-precision checkpoint is from the model that was measured, which is float32.

    -1, 0, 1 and, as long as nothing underflows, other powers of two are exact.

    Args:
        edit: what is changed.
        state: tensors of the base model.

    Returns:
        The largest relative difference over the changed weights; 0 where both agree to the bit.
    """
    largest = 0.0
    for layer, change in edit.layers.items():
        measured = edit.alpha[change.encoder] * change.original.float()
        written = measured.to(_weight(state, layer).dtype)
        written, measured = (values[measured != 0].double() for values in (written, measured))
        if len(measured):
            largest = max(largest, float(((written - measured) / measured).abs().amax()))
    return largest


def undo_edit(edit: Edit, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The base model's state dict, bit for bit, from the edited one.

    Args:
        edit: what was changed.
        state: tensors of the edited model.

    Returns:
        All tensors; edited layers are copies.

    Raises:
        ArtifactError: what comes out is not the base model, so `state` was not this edit's result.
    """
    require_sound(edit)

    def values_of(layer: str, change: LayerEdit, weight: Tensor) -> Tensor:
        _require_inside(layer, change, weight)
        return change.original

    restored = _with_values(edit, state, values_of)
    found = model_digest(tensor_digests(restored))
    if found != edit.base_model:
        raise ArtifactError(
            f"undoing the edit gives a model with digest {found[:12]}, expected {edit.base_model[:12]}; the model is not"
            " the one that this edit made"
        )
    return restored


def _with_values(
    edit: Edit, state: Mapping[str, Tensor], values_of: Callable[[str, LayerEdit, Tensor], Tensor]
) -> dict[str, Tensor]:
    """The state dict with other values at an edit's positions; edited layers are copies."""
    changed = dict(state)
    for layer, change in edit.layers.items():
        weight = _weight(state, layer).clone()
        weight.view(-1)[change.index] = values_of(layer, change, weight).to(weight.dtype)
        changed[layer + _WEIGHT] = weight
    return changed


def _weight(state: Mapping[str, Tensor], layer: str) -> Tensor:
    weight = state.get(layer + _WEIGHT)
    if weight is None:
        raise ArtifactError(f"the edit changes layer {layer}, which the model does not have; it is for another model")
    return weight.contiguous()


def positions(index: object, weight: Tensor, encoder: str) -> LayerEdit:
    """The edit of one layer from selected flat positions of its weight [out, in]."""
    selected = torch.as_tensor(index, dtype=torch.int64)
    return LayerEdit(encoder, selected, weight.detach().cpu().contiguous().view(-1)[selected].clone())
