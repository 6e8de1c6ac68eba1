"""An edit on a model in memory, for as long as it is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from data_specs.errors import ArtifactError
from tasks.encoders.checkpoint import tensor_digests
from tasks.encoders.loading import LoadedModel
from tasks.manipulation.edit import Edit, changed_values, require_base


@contextmanager
def edited_in_place(loaded: LoadedModel, edit: Edit) -> Iterator[LoadedModel]:
    """Change the selected weights, and put back the original ones when the block ends.

    No second model is made, so that a sweep over many edits needs the memory of one.

    Args:
        loaded: the base model; it is the edited model inside the block.
        edit: what to change.

    Yields:
        The same model under the edited model's digests.

    Raises:
        ArtifactError: the edit is for another model.
    """
    require_base(edit, loaded.digest)
    parameters = dict(loaded.model.named_parameters())
    weights = {layer: parameters[f"{layer}.weight"] for layer in edit.layers if f"{layer}.weight" in parameters}
    if missing := edit.layers.keys() - weights.keys():
        raise ArtifactError(
            f"the edit changes layer {min(missing)}, which the model does not have; it is for another model"
        )
    values = {
        layer: changed_values(layer, change, edit.alpha[change.encoder], weights[layer].detach())
        for layer, change in edit.layers.items()
    }
    try:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, values[layer])
        digests = tensor_digests({f"{layer}.weight": weight.detach() for layer, weight in weights.items()})
        yield replace(loaded, digests={**loaded.digests, **digests})
    finally:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, change.original)


@torch.no_grad()
def _put(weight: Tensor, index: Tensor, values: Tensor) -> None:
    # By row and column: a flat view of a weight that is not contiguous would be a copy.
    place, width = index.to(weight.device), weight.shape[1]
    weight[place // width, place % width] = values.to(weight)
