"""What lies in an artifact's folder: its manifest and plain files, and nothing that leads out of it."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from data_specs.errors import ArtifactError
from data_specs.manifest import VERSION_PATTERN, ArtifactRef, Manifest, Pruned
from tasks.lineage.digest import describe_files, file_sha256, recipe_version
from tasks.lineage.sealed_json import NotAsSealed, unsealed

MANIFEST = "manifest.json"
SCRATCH = ".scratch"  # work in progress, in the store's folder
# Beside the manifest of an artifact whose files were dropped, since they can be made again: it is not there to be used,
# and who makes it again puts the same bytes into the same folder.
PRUNED = "pruned.json"
REMEDY = "remove the artifact's folder to have it made anew"
_LARGEST_MANIFEST = 1 << 30
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


def label_of(ref: ArtifactRef) -> str:
    """How messages name an artifact."""
    return f"{ref.kind} {ref.version[:12]}"


def read_manifest(folder: Path, ref: ArtifactRef) -> Manifest:
    """The manifest in an artifact's folder.

    Raises:
        ArtifactError: the folder is a link, or its manifest is missing, none, or changed since it was written.
    """
    path = folder / MANIFEST
    data = manifest_bytes(folder, ref)
    try:
        return unsealed(Manifest, data)
    except NotAsSealed as error:
        raise ArtifactError(f"{label_of(ref)}: file {MANIFEST} in {folder}: {error}; {REMEDY}") from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is not a manifest: {_first_problem(error)}; {REMEDY}") from error


def manifest_bytes(folder: Path, ref: ArtifactRef) -> bytes:
    """What the manifest's file holds, whatever it is.

    Raises:
        ArtifactError: the folder or the file is a link, or the file cannot be read.
    """
    path, label = folder / MANIFEST, label_of(ref)
    try:
        _require_no_link(folder, ref)
        _require_plain(path, label, MANIFEST)
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise ArtifactError(f"{label}: {path} has {path.stat().st_size} bytes and is not a manifest; {REMEDY}")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{label} has no readable {path}: {error.strerror or error}; {REMEDY}") from error


def is_pruned(folder: Path) -> bool:
    """Whether the files of an artifact were dropped, so that only its manifest is there."""
    return os.path.lexists(folder / PRUNED)


def read_pruned(folder: Path, manifest: Manifest) -> Pruned:
    """What is recorded of the files that were dropped beside a manifest.

    Raises:
        ArtifactError: the record cannot be read, changed, or is of another manifest.
    """
    path, label = folder / PRUNED, label_of(manifest.ref)
    try:
        _require_plain(path, label, PRUNED)
        found = unsealed(Pruned, path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{label} has no readable {path}: {error.strerror or error}; {REMEDY}") from error
    except NotAsSealed as error:
        raise ArtifactError(f"{label}: file {PRUNED} in {folder}: {error}; {REMEDY}") from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is no record of dropped files: {_first_problem(error)}; {REMEDY}") from error
    if found.manifest != manifest.digest:
        raise ArtifactError(f"{label}: {PRUNED} in {folder} is of another manifest; {REMEDY}")
    return found


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where[:40]}: {first['msg'][:80]}" if where else first["msg"][:80]


def manifest_sha256(folder: Path) -> str:
    """SHA-256 of the bytes of the manifest in an artifact's folder.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return file_sha256(folder / MANIFEST)


def require_own(manifest: Manifest, ref: ArtifactRef) -> None:
    """Make sure that a manifest is of the artifact in whose folder it lies.

    Raises:
        ArtifactError: it names another, or its recipe has another digest.
    """
    computed = recipe_version(manifest.recipe)
    if (manifest.version, manifest.recipe.kind) != (ref.version, ref.kind) or computed != ref.version:
        raise ArtifactError(
            f"{label_of(ref)}: its manifest is of {manifest.recipe.kind} {manifest.version[:12]}, whose recipe has digest"
            f" {computed[:12]}; {REMEDY}"
        )


def check_beside_manifest(path: Path) -> list[Manifest]:
    """Compare a file of an artifact's folder, in a store or copied out of it, with the manifest beside it.

    Returns:
        The manifest; none for a file that lies in no artifact, and of a link perhaps two, here and where it leads.

    Raises:
        ArtifactError: it is not the file that the manifest lists, the manifest is missing from a folder that is named
            after a version, or it is not of its recipe or folder.
    """
    places = {place.parent: place for place in (path.absolute(), path.resolve())}
    return [
        _manifest_beside(place)
        for place in places.values()
        if is_stored(place.parent) or (place.parent / MANIFEST).is_file()
    ]


def is_stored(folder: Path) -> bool:
    """Whether a folder has a version's name, as those of a store have."""
    return bool(re.fullmatch(VERSION_PATTERN, folder.name))


def _manifest_beside(path: Path) -> Manifest:
    folder = path.parent
    try:
        manifest = unsealed(Manifest, (folder / MANIFEST).read_bytes())
    except NotAsSealed as error:
        raise ArtifactError(f"{folder / MANIFEST}: {error}; {REMEDY}") from error
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{folder / MANIFEST} is not a readable manifest; {REMEDY}") from error
    version = folder.name if is_stored(folder) else manifest.version
    require_own(manifest, ArtifactRef(kind=manifest.recipe.kind, version=version))
    (found,) = describe_files(folder, [path.name])
    if found not in manifest.files:
        raise ArtifactError(f"{path} is not the file that {MANIFEST} beside it lists: it has changed; {REMEDY}")
    return manifest


def artifact_files(folder: Path, ref: ArtifactRef) -> list[str]:
    """All files of an artifact but its manifest and what says that its files were dropped, sorted, relative to its folder.

    Raises:
        ArtifactError: there is a link, or something else that is neither a file nor a folder.
    """
    found: list[str] = []
    try:
        _require_no_link(folder, ref)
        for name, strange in artifact_entries(folder):
            if strange is not None:
                _require_plain(folder / name, label_of(ref), name)
            found.append(name)
    except OSError as error:
        raise ArtifactError(f"{label_of(ref)}: cannot read {folder}: {error.strerror or error}; {REMEDY}") from error
    return sorted(found)


def artifact_entries(folder: Path) -> Iterator[tuple[str, str | None]]:
    """The same, with what is no plain file: its name, and what it is, such as `a link`.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [""]
    while pending:
        inner = pending.pop()
        for entry in os.scandir(folder / inner):
            name = inner + entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{name}/")
            elif name not in (MANIFEST, PRUNED):
                plain = entry.is_file(follow_symlinks=False)
                kind = None if plain else stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                yield name, None if kind is None else _KINDS.get(kind, "a device")


def shown_name(name: str) -> str:
    """A file's name without control characters."""
    return name if name.isprintable() else ascii(name)


def _require_no_link(folder: Path, ref: ArtifactRef) -> None:
    for place in (folder.parent, folder):
        if place.is_symlink():
            raise ArtifactError(
                f"{label_of(ref)}: folder {place} is a link, and what it leads to can change unseen; put the folder itself there"
            )


def _require_plain(path: Path, label: str, name: str) -> None:
    kind = stat.S_IFMT(path.lstat().st_mode)
    if kind != stat.S_IFREG:
        raise ArtifactError(
            f"{label}: file {shown_name(name)} in {path.parent} is {_KINDS.get(kind, 'a device')}, expected a plain file; {REMEDY}"
        )
