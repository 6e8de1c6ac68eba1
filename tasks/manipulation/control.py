"""The control that an edit must beat: as many weights of the same layers, drawn at random."""

import numpy as np
import torch
from torch import Tensor

from data_specs.errors import ArtifactError
from tasks.lineage.digest import text_sha256
from tasks.manipulation.edit import CONTROL_RULE, Edit, positions, require_originals


def random_control(edit: Edit, weights: dict[str, Tensor], *, seed: int) -> Edit:
    """An edit of equally many weights in each layer, drawn without replacement.

    Args:
        edit: the edit to match; alpha stays, positions do not.
        weights: [out, in] by layer name.
        seed: of the draw; each layer's draw depends on it and on the layer's name alone.

    Returns:
        The control.

    Raises:
        ArtifactError: the edit is not of these weights.
    """
    layers = {}
    for layer, change in edit.layers.items():
        if layer not in weights:
            raise ArtifactError(
                f"the edit changes layer {layer}, which the model does not have; it is for another model"
            )
        require_originals(layer, change, weights[layer])
        generator = np.random.default_rng(int(text_sha256(f"{seed} {layer}")[:16], 16))
        drawn = generator.choice(weights[layer].numel(), size=len(change.index), replace=False, shuffle=False)
        layers[layer] = positions(torch.from_numpy(np.sort(drawn)), weights[layer], change.encoder)
    return Edit(edit.base_model, layers, edit.alpha, dict.fromkeys(edit.rule, CONTROL_RULE), edit.tau)
