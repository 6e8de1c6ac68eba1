"""How every command finds the artifact that a person names."""

from collections.abc import Sequence

from data_specs.manifest import ArtifactRef
from tasks.lineage.references import find_artifact
from tasks.lineage.runs import MAIN_ROLES
from tasks.lineage.store import Store


def find_reference(store: Store, named: str, roles: Sequence[str] = MAIN_ROLES) -> ArtifactRef:
    """The artifact that a REF names; see `find_artifact`.

    Raises:
        ArtifactError: nothing is called so, or several are.
    """
    return find_artifact(store, named, roles)
