"""Dropping an artifact's files, which can be made again; its manifest stays, and what was made of it stays traceable."""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from data_specs.manifest import ArtifactRef, Manifest, Pruned
from tasks.lineage.circumstances import now, user_name
from tasks.lineage.contents import MANIFEST, PRUNED, is_pruned
from tasks.lineage.disk import sync
from tasks.lineage.dropping.in_use import used_now
from tasks.lineage.planned import PlannedStore
from tasks.lineage.sealed_json import sealed
from tasks.lineage.store import Store


def prune(store: Store, ref: ArtifactRef, why: str) -> Pruned | None:
    """Drop the files of an artifact that is as its manifest says.

    From the moment that `pruned.json` is there, the artifact is not: who needs it makes it again, with the same bytes
    under the same manifest. A process that dies meanwhile leaves files that nobody takes for the artifact's, and which
    `remove_leftovers` removes.

    Args:
        store: holds it.
        ref: which artifact.
        why: for whoever looks for the files.

    Returns:
        What `pruned.json` says; None where a process makes or uses the artifact, which stays as it was.

    Raises:
        ArtifactError: the artifact is not there, or not as its manifest says.
    """
    release = store.leases.take(ref)
    if release is None:
        return None
    try:
        # Who looks at it without using it notes nothing, or two who drop would keep each other from it.
        manifest, folder = PlannedStore(store.root).check(ref), store.folder(ref)
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
        draft = store.temporary_folder(f"{ref.kind}-{ref.version}.{PRUNED}")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        sync(draft)
        os.replace(draft, folder / PRUNED)
        sync(folder)
        # Who uses it has noted so before it looked for the record.
        if ref in used_now(store.root, besides=store.uses):
            (folder / PRUNED).unlink()
            return None
        store.listeners.dropping(manifest)
        _remove_files(folder)
        return record
    finally:
        release()


def remove_leftovers(store: Store, ref: ArtifactRef) -> bool:
    """Remove files of an artifact that was dropped by a process that died meanwhile; False where it is made or used."""
    release = store.leases.take(ref)
    if release is None:
        return False
    try:
        if not is_pruned(store.folder(ref)) or ref in used_now(store.root, besides=store.uses):
            return False
        store.listeners.dropping(store.manifest(ref))
        _remove_files(store.folder(ref))
        return True
    finally:
        release()


def has_leftovers(folder: Path) -> bool:
    """Whether files are left of an artifact that was dropped."""
    return is_pruned(folder) and any(path.name not in (MANIFEST, PRUNED) for path in folder.iterdir())


def freed_bytes(manifests: Mapping[Path, Manifest]) -> int:
    """What dropping the files of all these artifacts, by their folders, frees: of one that others hold too, nothing."""
    links: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], os.stat_result] = {}
    for folder, manifest in manifests.items():
        for entry in manifest.files:
            with suppress(OSError):
                state = (folder / entry.path).lstat()
                links[state.st_dev, state.st_ino] += 1
                found[state.st_dev, state.st_ino] = state
    return sum(state.st_size for place, state in found.items() if links[place] >= state.st_nlink)


def _remove_files(folder: Path) -> None:
    for inner, _, names in os.walk(folder):
        for name in names:
            if Path(inner) != folder or name not in (MANIFEST, PRUNED):
                (Path(inner) / name).unlink(missing_ok=True)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    for inner, _, _ in os.walk(folder, topdown=False):
        if Path(inner) != folder:
            with suppress(OSError):
                Path(inner).rmdir()
