"""The control that an edit must beat: as many weights of the same layers, drawn at random."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
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


def random_sign_control(
    edit: Edit, weights: dict[str, Tensor], kept: Callable[[str], NDArray[np.bool_]], *, seed: int
) -> Edit:
    """An edit of equally many weights in each layer, drawn from those that a sign filter leaves.

    Args:
        edit: the edit to match; alpha stays, positions do not.
        weights: [out, in] by layer name.
        kept: [out, in] of a layer by its name; True may be drawn.
        seed: of the draw; each layer's draw depends on it and on the layer's name alone.

    Returns:
        The control.

    Raises:
        ArtifactError: the edit is not of these weights, or changes more than the filter leaves.
    """
    layers = {}
    for layer, change in edit.layers.items():
        if layer not in weights:
            raise ArtifactError(
                f"the edit changes layer {layer}, which the model does not have; it is for another model"
            )
        require_originals(layer, change, weights[layer])
        candidates, n = np.flatnonzero(kept(layer)), len(change.index)
        if len(candidates) < n:
            raise ArtifactError(
                f"the edit changes {n} weights of layer {layer}, of which its sign filter leaves {len(candidates)}; it was"
                " made with another filter"
            )
        generator = np.random.default_rng(int(text_sha256(f"sign {seed} {layer}")[:16], 16))
        drawn = generator.choice(candidates, size=n, replace=False, shuffle=False)
        layers[layer] = positions(torch.from_numpy(np.sort(drawn)), weights[layer], change.encoder)
    return Edit(edit.base_model, layers, edit.alpha, dict.fromkeys(edit.rule, CONTROL_RULE), edit.tau)
