"""Taking an artifact out of a store, whole or not at all."""

import os
import shutil

from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store


def discard(store: Store, ref: ArtifactRef) -> None:
    """Remove an artifact that nothing names as its input; one that is not there stays so.

    A process that dies meanwhile leaves it as it was, or in the store's scratch folder.
    """
    removed = store.temporary_folder(f"{ref.kind}-{ref.version}-{os.getpid()}.removed")
    removed.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(store.path(ref), removed)
    except FileNotFoundError:
        return
    shutil.rmtree(removed, ignore_errors=True)
