"""What an edit of a CLIP changes in the tower of a LLaVA that was built around it, checked against what lies there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.llava.folder import LlavaFolder
from tasks.encoders.llava.names import as_in_tower, block_of, layer_in_tower
from tasks.encoders.llava.stored_tensors import StoredTensor
from tasks.manipulation.edit import Edit, LayerEdit, require_sound

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class TowerChange:
    """One tensor of a tower: flat positions, what must stand there and what is put there, both in the file's type."""

    layer: str
    inner: str
    tensor: StoredTensor
    index: Tensor
    before: Tensor
    after: Tensor

    def values(self) -> Tensor:
        """The whole tensor as it shall be, [out, in] in the file's type."""
        changed = self.tensor.read()
        changed.view(-1)[self.index] = self.after
        return changed


def tower_changes(edit: Edit, llava: LlavaFolder, *, undo: bool = False) -> list[TowerChange]:
    """Where an edit's layers are in a checkpoint, and what it changes there.

    Args:
        edit: of a CLIP, or of the tower itself; layers of a text encoder are passed over, as a LLaVA has none.
        llava: the checkpoint to be edited; to undo, the edited one.
        undo: put the originals back.

    Returns:
        A change for each layer of the vision encoder, in the edit's order.

    Raises:
        ArtifactError: the edit is damaged or changes nothing of a vision encoder, or the tower is not the one that it
            was made for, or carries it already (to undo: does not carry it).
        SpecError: the tower is quantised.
    """
    require_sound(edit)
    layers = {layer: change for layer, change in edit.layers.items() if change.encoder == "vision"}
    if not any(len(change.index) for change in layers.values()):
        raise ArtifactError(
            "the edit changes no weight of a vision encoder, and of CLIP's encoders a LLaVA has no other; take an edit of"
            " the vision encoder"
        )
    changes = [_change(layer, change, edit.alpha["vision"], llava, undo) for layer, change in layers.items()]
    _require_values(changes, llava, undo)
    return changes


def without_effect(changes: Sequence[TowerChange], llava: LlavaFolder) -> list[str]:
    """The layers whose change no caption shows: their blocks come after the last hidden state that is read."""
    return [item.layer for item in changes if (block_of(item.inner) or 0) >= llava.n_seen]


def _change(layer: str, change: LayerEdit, alpha: float, llava: LlavaFolder, undo: bool) -> TowerChange:
    inner = layer_in_tower(layer)
    if inner is None:
        raise ArtifactError(f"the edit changes layer {layer}, which has no counterpart in the vision tower of a LLaVA")
    tensor = _tensor(inner, layer, llava)
    if len(tensor.shape) != 2 or (len(change.index) and int(change.index[-1]) >= tensor.shape[0] * tensor.shape[1]):
        raise _other_tower(llava, f"{inner} is {list(tensor.shape)} there, and the edit goes past it")
    wide = change.original if change.original.dtype == torch.float64 else change.original.float()
    original, edited = wide.to(tensor.dtype), (alpha * wide).to(tensor.dtype)
    if not bool(torch.isfinite(edited).all()):
        raise ArtifactError(f"layer {layer}: {alpha} times its weights does not fit {tensor.kind}; use a smaller alpha")
    before, after = (edited, original) if undo else (original, edited)
    return TowerChange(layer, inner, tensor, change.index, before, after)


def _tensor(inner: str, layer: str, llava: LlavaFolder) -> StoredTensor:
    tensor = llava.tower.get(inner)
    stem = inner.removesuffix("weight")
    if tensor is None and not any(name.startswith(stem) for name in llava.tower):
        raise _other_tower(llava, f"it has no {inner}, for the edit's layer {layer}")
    if tensor is None or tensor.dtype is None:
        found = tensor.kind if tensor else ", ".join(sorted(name for name in llava.tower if name.startswith(stem)))
        raise SpecError(
            f"{llava.folder}: {inner} is quantised ({found}), and a quantised tower is not edited; take the checkpoint in"
            " float16, bfloat16 or float32, edit it, and quantise the result"
        )
    return tensor


def _other_tower(llava: LlavaFolder, found: str) -> ArtifactError:
    return ArtifactError(
        f"the vision tower of {llava.folder} is not the one that the edit was made for: {found}; take the LLaVA that was"
        " built around the edited model with its tower unchanged, or score this tower itself"
    )


def _require_values(changes: Sequence[TowerChange], llava: LlavaFolder, undo: bool) -> None:
    """Compare what stands at all positions with what must stand there, bit for bit."""
    n_other, n_done, first = 0, 0, ""
    for item in changes:
        found = _bits(item.tensor.read().view(-1)[item.index])
        differing = found != _bits(item.before)
        n_other += int(differing.sum())
        n_done += int((differing & (found == _bits(item.after))).sum())
        first = first or (item.inner if bool(differing.any()) else "")
    if not n_other:
        return
    if n_done == n_other:
        raise ArtifactError(
            f"{llava.folder} does not carry this edit: at its positions stand the original values; there is nothing to undo"
            if undo
            else f"{llava.folder} carries this edit already; undo it with `uwm edit undo`, or take the original"
        )
    n_values = sum(len(item.index) for item in changes)
    raise _other_tower(
        llava, f"{n_other} of {n_values} values at the edit's positions are others, the first of them in {first}"
    )


def require_base_tower(llava: LlavaFolder, changes: Sequence[TowerChange], base: Mapping[str, Tensor]) -> None:
    """Refuse a tower that differs anywhere from the edit's base model, the edit put aside.

    Args:
        llava: the checkpoint.
        changes: see `tower_changes`, which has compared their positions.
        base: tensors of the base model under open_clip's names; in half precision rounded to it.

    Raises:
        ArtifactError: a tensor that is used is missing or has other values.
    """
    expected = as_in_tower(base)
    edited = {item.inner: item for item in changes}
    if missing := sorted(expected.keys() - llava.tower.keys()):
        raise _other_tower(llava, f"it has no {missing[0]}")
    for inner, wanted in expected.items():
        found = llava.tower[inner].read()
        if inner in edited:
            # Those of the edit are known to be right; the base has the originals there.
            index = edited[inner].index
            found.view(-1)[index] = wanted.reshape(-1)[index].to(found.dtype)
        rounded = wanted.to(found.dtype).contiguous()
        if found.shape != rounded.shape or not torch.equal(_bits(found), _bits(rounded)):
            raise _other_tower(llava, f"{inner} has other values than the edit's base model")


def _bits(values: Tensor) -> Tensor:
    return values.reshape(-1).view(_BITS[values.element_size()])


def largest_rounding(edit: Edit, changes: Sequence[TowerChange]) -> float:
    """How far edited weights, as they are written, are from those of the model that was measured.

    Returns:
        The largest difference relative to their size; 0 where all agree to the bit, as negated values do which the file's
        type holds.
    """
    largest = 0.0
    for item in changes:
        measured = edit.alpha["vision"] * edit.layers[item.layer].original.float()
        used = measured != 0
        if bool(used.any()):
            far = (item.after.float() - measured)[used] / measured[used]
            largest = max(largest, float(far.abs().amax()))
    return largest
