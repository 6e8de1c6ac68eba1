"""An edit of a store, compared with its manifest before each use."""

from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest
from data_specs.wording import shown
from tasks.lineage.contents import REMEDY, check_beside_manifest
from tasks.lineage.store import Store
from tasks.manipulation.edit import CONTROL_RULE, Edit
from tasks.manipulation.edit_file import EDIT_FILE, read_edit

_KIND = "edit"


def stored_edit(store: Store, ref: ArtifactRef) -> Edit:
    """The edit of an `edit` artifact.

    Raises:
        ArtifactError: the artifact is not as its manifest says, or its edit is not what its recipe asked for.
    """
    manifest = store.check(ref)
    edit = read_edit(store.path(ref) / EDIT_FILE)
    _require_recipe(manifest, edit)
    return edit


def edit_at(path: Path) -> Edit:
    """The edit of a file, or of an artifact's folder, in a store or copied out of it.

    Raises:
        SpecError: there is no file, or it is no edit.
        ArtifactError: it is damaged, or an artifact's and not as its manifest and recipe say.
    """
    file = path / EDIT_FILE if path.is_dir() else path
    edit = read_edit(file)
    for manifest in check_beside_manifest(file):
        _require_recipe(manifest, edit)
    return edit


def _require_recipe(manifest: Manifest, edit: Edit) -> None:
    recipe, label = manifest.recipe, f"{manifest.recipe.kind} {manifest.version[:12]}"
    if recipe.kind != _KIND:
        raise ArtifactError(f"expected an {_KIND} artifact, got {label}")
    if recipe.inputs.get("model") != edit.base_model:
        raise ArtifactError(
            f"{label}: its file is for model {edit.base_model[:12]}, which its recipe does not name; {REMEDY}"
        )
    if "control" in recipe.settings:
        if set(edit.rule.values()) != {CONTROL_RULE}:
            raise ArtifactError(f"{label}: its recipe is of a control, its file has rule {shown(edit.rule)}; {REMEDY}")
        return
    own = {name: {"rule": edit.rule[name], "tau": edit.tau[name], "alpha": edit.alpha[name]} for name in edit.alpha}
    if recipe.settings != own:
        raise ArtifactError(f"{label}: its file says {shown(own)}, its recipe {shown(recipe.settings)}; {REMEDY}")
