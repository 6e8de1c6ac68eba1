"""The model that an edit was made for, where its files or an edited model of it are at hand."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from data_specs.errors import PipelineError
from data_specs.manifest import ArtifactRef, Manifest
from tasks.encoders.checkpoint import model_digest, read_state_dict, tensor_digests
from tasks.encoders.llava.folder import LlavaFolder, is_llava, open_llava
from tasks.encoders.llava.tower import tower_state
from tasks.encoders.model_json import CONFIG
from tasks.encoders.transformers_format import WEIGHTS, read_checkpoint
from tasks.lineage.contents import check_beside_manifest, is_stored
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, undo_edit
from tasks.manipulation.edit_file import EDIT_FILE


def base_at_hand(path: Path, edit: Edit, llava: LlavaFolder) -> dict[str, Tensor] | None:
    """The tensors of an edit's base model: the tower itself, or by the manifest beside the edit, which names the file of the
    model's weights, or of the model that was edited with it.

    Args:
        path: of the edit's file or of its artifact's folder.
        edit: what lies there.
        llava: the checkpoint that it is applied to, or undone in.

    Returns:
        Tensors under open_clip's names, of the very model; None where it cannot be found.
    """
    with suppress(PipelineError, OSError):
        own = _without_edit(edit, tower_state(llava))
        if model_digest(tensor_digests(own)) == edit.base_model:
            return own
    file = path / EDIT_FILE if path.is_dir() else path
    for manifest in check_beside_manifest(file):
        for state in _candidates(manifest, file.resolve().parent, edit):
            if model_digest(tensor_digests(state)) == edit.base_model:
                return state
    return None


def _without_edit(edit: Edit, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tower with the originals at the edit's positions, which is its base model if it is edited, and if it is not."""
    for layer, change in edit.layers.items():
        weight = state.get(f"{layer}.weight")
        if weight is not None and len(change.index) and int(change.index[-1]) < weight.numel():
            weight.view(-1)[change.index] = change.original.to(weight.dtype)
    return state


def _read(weights: Path) -> dict[str, Tensor]:
    if is_llava(weights.parent):
        return tower_state(open_llava(weights.parent, "model.llava"))
    return read_checkpoint(weights.parent) if (weights.parent / CONFIG).is_file() else read_state_dict(weights)


def _candidates(manifest: Manifest, folder: Path, edit: Edit) -> Iterator[dict[str, Tensor]]:
    for source in manifest.weights:
        weights = Path(source.location)
        # Files may have changed since, or lie on another machine.
        with suppress(PipelineError, OSError):
            yield _read(weights)
    if not is_stored(folder):
        return
    store = Store(folder.parents[1])
    for ref in [ref for ref in store.refs() if ref.kind == "model"]:
        with suppress(PipelineError, OSError):
            if store.manifest(ref).recipe.inputs.get("edit") == ArtifactRef(kind="edit", version=folder.name):
                yield undo_edit(edit, read_state_dict(store.path(ref) / WEIGHTS))
