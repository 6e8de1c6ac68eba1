"""An edit of a CLIP on the vision tower of another model in memory, for as long as that is looked at."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from data_specs.errors import ArtifactError, SpecError
from tasks.encoders.transformers_format import to_transformers
from tasks.manipulation.edit import Edit, changed_values
from tasks.manipulation.stored_edit import edit_at

_VISION = "vision_model."


@dataclass(frozen=True)
class StoredTowerEdit:
    """An edit by value, for any process that reaches its artifact."""

    folder: Path

    def __call__(self, tower: nn.Module) -> AbstractContextManager[None]:
        """The edit on a tower, for as long as the block lasts; see `tower_edited_in_place`."""
        return tower_edited_in_place(tower, edit_at(self.folder))


@contextmanager
def tower_edited_in_place(tower: nn.Module, edit: Edit) -> Iterator[None]:
    """Change the weights that the edit selects in the vision encoder; what stood there comes back bit for bit.

    Args:
        tower: of transformers, such as a LLaVA's, in any float dtype and on any device.
        edit: of the CLIP whose vision encoder it is; its text encoder's part is left out.

    Raises:
        SpecError: the edit changes no vision encoder.
        ArtifactError: the tower is of another model, or its values differ from the CLIP's.
    """
    own = {layer: change for layer, change in edit.layers.items() if change.encoder == "vision"}
    if not own:
        raise SpecError(
            "the edit changes no weight of a vision encoder, and a captioner has no other of CLIP's; set vision"
        )
    weights = {layer: _weight(tower, layer) for layer in own}
    try:
        values = {
            layer: changed_values(layer, change, edit.alpha[change.encoder], weights[layer].detach())
            for layer, change in own.items()
        }
    except ArtifactError as error:
        raise ArtifactError(
            f"the captioner's vision tower is not the CLIP that the edit is of, or captioning.precision rounds it: {error}"
        ) from error
    before = {layer: _flat(weights[layer])[own[layer].index.to(weights[layer].device)].clone() for layer in own}
    try:
        for layer, change in own.items():
            _put(weights[layer], change.index, values[layer])
        yield
    finally:
        for layer, change in own.items():
            _put(weights[layer], change.index, before[layer])


def _weight(tower: nn.Module, layer: str) -> Tensor:
    try:
        (name,) = to_transformers({f"{layer}.weight": torch.empty(0, 0)})
        return tower.get_parameter(name.removeprefix(_VISION))
    except (SpecError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"the edit changes layer {layer}, which the captioner's vision tower does not have; it is for another model"
        ) from error


def _flat(weight: Tensor) -> Tensor:
    return weight.detach().reshape(-1)


@torch.no_grad()
def _put(weight: Tensor, index: Tensor, values: Tensor) -> None:
    place, width = index.to(weight.device), weight.shape[1]
    weight[place // width, place % width] = values.to(weight)
