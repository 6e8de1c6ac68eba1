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

    def draw(layer: str, n: int) -> NDArray[np.int64]:
        return _generator(f"{seed} {layer}").choice(weights[layer].numel(), size=n, replace=False, shuffle=False)

    return _drawn(edit, weights, draw)


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

    def draw(layer: str, n: int) -> NDArray[np.int64]:
        candidates = np.flatnonzero(kept(layer))
        if len(candidates) < n:
            raise ArtifactError(
                f"the edit changes {n} weights of layer {layer}, of which its sign filter leaves {len(candidates)}; it was"
                " made with another filter"
            )
        return _generator(f"sign {seed} {layer}").choice(candidates, size=n, replace=False, shuffle=False)

    return _drawn(edit, weights, draw)


def _generator(words: str) -> np.random.Generator:
    return np.random.default_rng(int(text_sha256(words)[:16], 16))


def _drawn(edit: Edit, weights: dict[str, Tensor], draw: Callable[[str, int], NDArray[np.int64]]) -> Edit:
    """The edit of so many positions of each layer as `draw` gives for a layer's name and that number."""
    layers = {}
    for layer, change in edit.layers.items():
        if layer not in weights:
            raise ArtifactError(
                f"the edit changes layer {layer}, which the model does not have; it is for another model"
            )
        require_originals(layer, change, weights[layer])
        drawn = torch.from_numpy(np.sort(draw(layer, len(change.index))))
        layers[layer] = positions(drawn, weights[layer], change.encoder)
    return Edit(edit.base_model, layers, edit.alpha, dict.fromkeys(edit.rule, CONTROL_RULE), edit.tau)
