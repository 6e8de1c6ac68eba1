"""Taking an artifact out of a store, whole or not at all."""

import os
import shutil
from contextlib import suppress

from data_specs.manifest import ArtifactRef
from tasks.lineage.store import Store


def discard(store: Store, ref: ArtifactRef) -> None:
    """Remove an artifact that nothing names as its input; one that is not there stays so.

    A process that dies meanwhile leaves it as it was, or what is left of it in the store's scratch folder, where the next
    call finds it.
    """
    removed = store.temporary_folder(f"{ref.kind}-{ref.version}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if os.path.lexists(store.folder(ref)):
        removed.parent.mkdir(parents=True, exist_ok=True)
        store.listeners.discarding(ref)
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(store.folder(ref), removed)
        shutil.rmtree(removed, ignore_errors=True)
