"""How every command finds the artifact that a person names."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_specs.manifest import ArtifactRef
from tasks.lineage.references import find_artifact
from tasks.lineage.runs import MAIN_ROLES
from tasks.lineage.store import Store

_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".yaml", ".yml", ".json")


def find_reference(store: Store, named: str, roles: Sequence[str] = MAIN_ROLES) -> ArtifactRef:
    """The artifact that a REF names, or of which a file or folder has the content; see `find_artifact`.

    Raises:
        ArtifactError: nothing is called so, or several are.
    """
    return find_artifact(store, named, roles, _with_content)


def path_or_reference(given: Path, store: str, role: str) -> Path:
    """A path as it is; where nothing lies there and no path is meant, the folder of the artifact that the text names.

    Args:
        given: a path, or a REF.
        store: where the artifact lies.
        role: of the artifact, in a run.

    Raises:
        ArtifactError: it can only be a REF, and names nothing, or several things.
    """
    text, root = str(given), Path(store)
    if os.path.lexists(given) or os.sep in text or given.suffix in _FILES or not root.is_dir():
        return given
    opened = Store(root)
    return opened.path(find_reference(opened, text, (role,)))


def _with_content(store: Store, path: Path) -> Sequence[ArtifactRef]:
    from tasks.tracing.checkpoints import artifacts_with_content  # brings pyarrow, which names do without

    return artifacts_with_content(store, path)
