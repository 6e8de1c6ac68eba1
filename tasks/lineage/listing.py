"""What lies in a store's folder: artifacts, broken ones, and copies that somebody put beside them."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import KIND_PATTERN, VERSION_PATTERN, ArtifactRef, Manifest
from tasks.lineage.contents import MANIFEST, is_pruned, read_manifest, require_own

_KIND, _VERSION = re.compile(KIND_PATTERN), re.compile(VERSION_PATTERN)


@dataclass(frozen=True)
class Found:
    """The folder of an artifact; `problem` says why it is broken, and then `manifest` is None.

    Of one that is `pruned`, the files were dropped, and only the manifest is there.
    """

    ref: ArtifactRef
    folder: Path
    manifest: Manifest | None
    problem: str | None
    pruned: bool = False


@dataclass(frozen=True)
class Survey:
    """All that a store's folder holds, by kind and version.

    `copies` lie under names that no artifact has; folders of kinds that are `unreadable` may hold more.
    """

    found: list[Found]
    copies: list[Path]
    unreadable: list[Path]

    @property
    def broken(self) -> list[Found]:
        """Artifacts that cannot be used."""
        return [item for item in self.found if item.problem is not None]


def named_there(root: Path, refs: Iterable[ArtifactRef]) -> set[ArtifactRef]:
    """Those of some artifacts that may be in the store at `root`: of which a name is there, or whose folder cannot be listed."""
    asked = [*refs]
    names = {kind: _names(root / kind) for kind in {ref.kind for ref in asked}}
    return {ref for ref in asked if (among := names[ref.kind]) is None or ref.version in among}


def _names(folder: Path) -> set[str] | None:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()
    except OSError:
        return None


def survey(root: Path, beginning: str = "") -> Survey:
    """Look at every artifact, and copy, whose folder's name starts with `beginning`, at its manifest only.

    Raises:
        ArtifactError: the store's folder cannot be read.
    """
    found: list[Found] = []
    copies: list[Path] = []
    unreadable: list[Path] = []
    for folder in _folders(root, beginning, unreadable):
        kind, version = folder.parent.name, folder.name
        if not (_KIND.fullmatch(kind) and _VERSION.fullmatch(version)):
            copies.append(folder)
            continue
        item = _look(folder, ArtifactRef(kind=kind, version=version))
        if item is None:
            copies.append(folder)
        else:
            found.append(item)
    return Survey(found, copies, unreadable)


def artifact_folders(root: Path) -> Iterator[tuple[ArtifactRef, Path]]:
    """Folders that are called like artifacts, with or without a sound manifest.

    Raises:
        ArtifactError: the store's folder cannot be read.
    """
    for folder in _folders(root, "", []):
        kind, version = folder.parent.name, folder.name
        if _KIND.fullmatch(kind) and _VERSION.fullmatch(version):
            yield ArtifactRef(kind=kind, version=version), folder


def _look(folder: Path, ref: ArtifactRef) -> Found | None:
    """None for a copy: a manifest that is sound, but of another kind than its folder's."""
    try:
        manifest = read_manifest(folder, ref)
        if manifest.recipe.kind != ref.kind and manifest.version == ref.version:
            require_own(manifest, manifest.ref)
            return None
        require_own(manifest, ref)
    except ArtifactError as error:
        return Found(ref, folder, None, str(error))
    return Found(ref, folder, manifest, None, is_pruned(folder))


def _folders(root: Path, beginning: str, unreadable: list[Path]) -> Iterator[Path]:
    """Folders two levels down that are called like an artifact or hold a manifest; hidden ones are the store's own."""
    for kind in _visible(root) if root.exists() else []:
        try:
            inner = _visible(kind) if kind.is_dir() else []
        except ArtifactError:
            if _KIND.fullmatch(kind.name):  # not lost+found, at the root of a disk
                unreadable.append(kind)
            continue
        for folder in inner:
            if not folder.name.startswith(beginning):
                continue
            if (folder / MANIFEST).is_file() or (_VERSION.fullmatch(folder.name) and _KIND.fullmatch(kind.name)):
                yield folder


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ArtifactError(f"cannot read the folder {folder} of the store: {error.strerror or error}") from error
