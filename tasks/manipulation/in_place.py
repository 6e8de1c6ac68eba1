"""An edit on a model in memory, for as long as it is measured."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from data_specs.errors import ArtifactError
from tasks.encoders.checkpoint import model_digest, tensor_digests
from tasks.encoders.loading import LoadedModel, ModelRef
from tasks.manipulation.edit import Edit, changed_values, require_base
from tasks.manipulation.edit_file import read_edit


@dataclass(frozen=True)
class EditedFiles:
    """A model with an edit on it, by value."""

    base: ModelRef
    edit: Path
    digest: str

    @contextmanager
    def opened(self) -> Iterator[LoadedModel]:
        """The edited model, for as long as the block lasts.

        Raises:
            ArtifactError: the edit is damaged or of another model, or something else comes out than was planned.
        """
        with self.base.opened() as loaded, edited_in_place(loaded, read_edit(self.edit), self.edit) as edited:
            if edited.digest != self.digest:
                raise ArtifactError(f"{self.edit} makes model {edited.digest[:12]} here, expected {self.digest[:12]}")
            yield edited


@contextmanager
def edited_in_place(
    loaded: LoadedModel, edit: Edit, path: Path | None = None, digests: Mapping[str, str] | None = None
) -> Iterator[LoadedModel]:
    """Change the selected weights, and put back the original ones when the block ends.

    No second model is made, so that a sweep over many edits needs the memory of one.

    Args:
        loaded: the base model; it is the edited model inside the block.
        edit: what to change.
        path: of the edit's file, so that other processes can do the same.
        digests: of the edited model's tensors, where this edit was applied to this model before.

    Yields:
        The same model under the edited model's digests.

    Raises:
        ArtifactError: the edit is for another model.
    """
    require_base(edit, loaded.digest)
    weights = _weights(loaded, edit)
    values = {
        layer: changed_values(layer, change, edit.alpha[change.encoder], weights[layer].detach())
        for layer, change in edit.layers.items()
    }
    try:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, values[layer])
        if digests is None:
            changed = {f"{layer}.weight": weight.detach() for layer, weight in weights.items()}
            digests = {**loaded.digests, **tensor_digests(changed)}
        reference = None
        if path is not None and loaded.reference is not None:
            reference = EditedFiles(loaded.reference, path, model_digest(digests))
        yield replace(loaded, digests=dict(digests), reference=reference)
    finally:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, change.original)


def _weights(loaded: LoadedModel, edit: Edit) -> dict[str, Tensor]:
    parameters = dict(loaded.model.named_parameters())
    weights: dict[str, Tensor] = {
        layer: parameters[f"{layer}.weight"] for layer in edit.layers if f"{layer}.weight" in parameters
    }
    if missing := edit.layers.keys() - weights.keys():
        raise ArtifactError(
            f"the edit changes layer {min(missing)}, which the model does not have; it is for another model"
        )
    return weights


@torch.no_grad()
def _put(weight: Tensor, index: Tensor, values: Tensor) -> None:
    # By row and column: a flat view of a weight that is not contiguous would be a copy.
    place, width = index.to(weight.device), weight.shape[1]
    weight[place // width, place % width] = values.to(weight)
