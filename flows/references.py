"""How every command finds the artifact that a person names."""

from collections.abc import Sequence
from pathlib import Path

from data_specs.manifest import ArtifactRef
from tasks.lineage.references import find_artifact
from tasks.lineage.runs import MAIN_ROLES
from tasks.lineage.store import Store


def find_reference(store: Store, named: str, roles: Sequence[str] = MAIN_ROLES) -> ArtifactRef:
    """The artifact that a REF names, or of which a file or folder has the content; see `find_artifact`.

    Raises:
        ArtifactError: nothing is called so, or several are.
    """
    return find_artifact(store, named, roles, _with_content)


def _with_content(store: Store, path: Path) -> Sequence[ArtifactRef]:
    from tasks.tracing.checkpoints import artifacts_with_content  # brings pyarrow, which names do without

    return artifacts_with_content(store, path)
