"""The model that an edit was made for, where its files or an edited model of it are at hand."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from data_specs.errors import PipelineError
from data_specs.manifest import ArtifactRef, Manifest
from tasks.encoders.checkpoint import model_digest, read_state_dict, tensor_digests
from tasks.encoders.model_json import CONFIG
from tasks.encoders.transformers_format import WEIGHTS, read_checkpoint
from tasks.lineage.contents import check_beside_manifest, is_stored
from tasks.lineage.store import Store
from tasks.manipulation.edit import Edit, undo_edit
from tasks.manipulation.edit_file import EDIT_FILE


def base_at_hand(path: Path, edit: Edit) -> dict[str, Tensor] | None:
    """The tensors of an edit's base model, by the manifest beside it: from its weights' file, or the model edited with it.

    Args:
        path: of the edit's file or of its artifact's folder.
        edit: what lies there.

    Returns:
        Tensors under open_clip's names, of the very model; None where it cannot be found.
    """
    file = path / EDIT_FILE if path.is_dir() else path
    for manifest in check_beside_manifest(file):
        for state in _candidates(manifest, file.resolve().parent, edit):
            if model_digest(tensor_digests(state)) == edit.base_model:
                return state
    return None


def _candidates(manifest: Manifest, folder: Path, edit: Edit) -> Iterator[dict[str, Tensor]]:
    for source in manifest.weights:
        weights = Path(source.location)
        # Files may have changed since, or lie on another machine.
        with suppress(PipelineError, OSError):
            in_folder = (weights.parent / CONFIG).is_file()
            yield read_checkpoint(weights.parent) if in_folder else read_state_dict(weights)
    if not is_stored(folder):
        return
    store = Store(folder.parents[1])
    for ref in [ref for ref in store.refs() if ref.kind == "model"]:
        with suppress(PipelineError, OSError):
            if store.manifest(ref).recipe.inputs.get("edit") == ArtifactRef(kind="edit", version=folder.name):
                yield undo_edit(edit, read_state_dict(store.path(ref) / WEIGHTS))
