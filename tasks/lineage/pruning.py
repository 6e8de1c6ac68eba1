"""Dropping an artifact's files, which can be made again; its manifest stays, and what was made of it stays traceable."""

import os
import platform
from contextlib import suppress
from pathlib import Path

from data_specs.manifest import ArtifactRef, Pruned
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.contents import PRUNED, manifest_sha256
from tasks.lineage.log import Log, fact_of
from tasks.lineage.sealed_json import sealed
from tasks.lineage.store import Store


def prune(store: Store, ref: ArtifactRef, why: str) -> Pruned:
    """Drop the files of an artifact that is as its manifest says.

    From the moment that `pruned.json` is there, the artifact is not: who needs it makes it again, with the same bytes
    under the same manifest. A process that dies meanwhile leaves files that nobody takes for the artifact's.

    Args:
        store: holds it.
        ref: which artifact.
        why: for whoever looks for the files.

    Returns:
        What `pruned.json` says.

    Raises:
        ArtifactError: the artifact is not there, or not as its manifest says.
    """
    release = store.leases.wait(ref)
    try:
        manifest, folder = store.check(ref), store.path(ref)
        record, data = sealed(
            Pruned(
                manifest=manifest.digest or "",
                when=now(),
                why=why,
                size_bytes=sum(entry.size_bytes for entry in manifest.files),
                user=user_name(),
                host=platform.node(),
            )
        )
        Log(store.root).append([fact_of("pruned", ref, manifest_sha256(folder))])
        draft = folder / f"{PRUNED}.tmp"
        draft.write_bytes(data)
        os.replace(draft, folder / PRUNED)
        for entry in manifest.files:
            (folder / entry.path).unlink()
        _remove_empty(folder)
        return record
    finally:
        release()


def _remove_empty(folder: Path) -> None:
    for inner, _, _ in os.walk(folder, topdown=False):
        if Path(inner) != folder:
            with suppress(OSError):
                Path(inner).rmdir()
