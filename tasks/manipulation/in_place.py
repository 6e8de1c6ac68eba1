"""An edit on a model in memory, for as long as it is measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from data_specs.errors import ArtifactError
from tasks.encoders.checkpoint import tensor_digests
from tasks.encoders.loading import LoadedModel
from tasks.manipulation.edit import Edit


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
    if loaded.digest != edit.base_model:
        raise ArtifactError(
            f"the edit is for the model with digest {edit.base_model[:12]}, got one with {loaded.digest[:12]}; apply it"
            " to the unedited model that it was made for"
        )
    weights = {layer: loaded.model.get_parameter(f"{layer}.weight") for layer in edit.layers}
    try:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, edit.alpha[change.encoder] * change.original)
        digests = tensor_digests({f"{layer}.weight": weight.detach() for layer, weight in weights.items()})
        yield replace(loaded, digests={**loaded.digests, **digests})
    finally:
        for layer, change in edit.layers.items():
            _put(weights[layer], change.index, change.original)


@torch.no_grad()
def _put(weight: Tensor, index: Tensor, values: Tensor) -> None:
    weight.view(-1)[index.to(weight.device)] = values.to(weight)
