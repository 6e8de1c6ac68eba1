"""Everything hashed again: artifacts, what they were made of, and what lies outside the store, with all that is wrong."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest, Source
from tasks.lineage.checking.faults import Fault, changed_inputs, faults_in, input_fault
from tasks.lineage.checking.recorded import recorded_fault, recorded_manifests
from tasks.lineage.contents import (
    MANIFEST,
    REMEDY,
    artifact_entries,
    is_pruned,
    label_of,
    manifest_bytes,
    shown_name,
)
from tasks.lineage.digest import file_sha256
from tasks.lineage.listing import Survey
from tasks.lineage.sealed_json import NotAsSealed, sealed_digest, unsealed
from tasks.lineage.store import Store
from tasks.lineage.trace import artifacts_in

_DIGESTS = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True)
class Verified:
    """One artifact, looked at; `manifest` is None where it cannot be read."""

    ref: ArtifactRef
    manifest: Manifest | None
    pruned: bool
    faults: list[Fault]
    elsewhere: bool = False  # its files are in a remote, and its manifest is known


def verified(store: Store, refs: Iterable[ArtifactRef]) -> Iterator[Verified]:
    """Look at artifacts and at all that they were made of, inputs first, each once.

    What can still be read of a manifest that changed says what else to look at, so that one fault hides no other.

    Args:
        store: holds them.
        refs: where to begin.

    Yields:
        Each with everything that is wrong with it.
    """
    looked = _Look(store)
    done: set[ArtifactRef] = set()
    for root in refs:
        stack: list[tuple[ArtifactRef, Iterator[ArtifactRef]]] = []
        pending: Iterator[ArtifactRef] = iter([root])
        entered: set[ArtifactRef] = set()
        while True:
            ref = next(pending, None)
            if ref is None:
                if not stack:
                    break
                ref, pending = stack.pop()
                done.add(ref)
                yield looked.at(ref)
            elif ref not in done and ref not in entered:
                entered.add(ref)
                stack.append((ref, pending))
                pending = iter(looked.below(ref))


@dataclass(frozen=True)
class _Read:
    """What is left of a manifest."""

    data: bytes = b""
    manifest: Manifest | None = None
    faults: list[Fault] = field(default_factory=list)


class _Look:
    """Manifests of a store, sound or not."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: dict[ArtifactRef, str | None] = {}
        self._versions: Mapping[str, list[ArtifactRef]] | None = None

    def at(self, ref: ArtifactRef) -> Verified:
        read, folder = self._read(ref), self._store.folder(ref)
        is_elsewhere = self._store.manifest_folder(ref) != folder and bool(read.data)
        self._digests[ref] = sealed_digest(read.data) if read.data else None
        faults = list(read.faults)
        if read.manifest is not None:
            faults += faults_in(folder, ref, read.manifest) if not is_elsewhere else []
            changes = changed_inputs(read.manifest, self._digest_of, self._store.manifest)
            faults += [input_fault(ref, changed) for changed in changes]
        elif os.path.lexists(folder) and not folder.is_symlink():
            faults += _unchecked(folder, ref)
        return Verified(ref, read.manifest, is_pruned(folder), faults, is_elsewhere)

    def below(self, ref: ArtifactRef) -> list[ArtifactRef]:
        """What an artifact was made of, as far as its manifest still says."""
        read = self._read(ref)
        found: dict[ArtifactRef, None] = {}
        if read.manifest is not None:
            found |= dict.fromkeys(artifacts_in(read.manifest.recipe.inputs).values())
            found |= dict.fromkeys(item.ref for items in read.manifest.inputs.values() for item in items)
        if read.faults:
            for digest in _DIGESTS.findall(read.data):
                found |= dict.fromkeys(self._named(digest.decode()))
        found.pop(ref, None)
        return [*found]

    def _read(self, ref: ArtifactRef) -> _Read:
        folder, label = self._store.manifest_folder(ref), label_of(ref)
        if not os.path.lexists(folder):
            text = f"{label} is missing from {self._store.root}; run what made it again"
            return _Read(faults=[Fault("missing", ref, "", text)])
        try:
            data = manifest_bytes(folder, ref)
        except ArtifactError as error:
            linked = any(place.is_symlink() for place in (folder.parent, folder, folder / MANIFEST))
            there = os.path.lexists(folder / MANIFEST)
            return _Read(
                faults=[Fault("linked" if linked else "unreadable" if there else "missing", ref, MANIFEST, str(error))]
            )
        try:
            return _Read(data, unsealed(Manifest, data))
        except NotAsSealed as error:
            said = f"{label}: file {MANIFEST} in {folder}: {error}; {REMEDY}"
            return _Read(data, Manifest.model_validate_json(data), [Fault("changed", ref, MANIFEST, said)])
        except ValidationError:
            said = f"{label}: file {MANIFEST} in {folder} changed since it was made: it is no manifest; {REMEDY}"
            return _Read(data, None, [Fault("changed", ref, MANIFEST, said)])

    def _digest_of(self, ref: ArtifactRef) -> str | None:
        if ref not in self._digests:
            data = self._read(ref).data
            self._digests[ref] = sealed_digest(data) if data else None
        return self._digests[ref]

    def _named(self, version: str) -> list[ArtifactRef]:
        if self._versions is None:
            versions: dict[str, list[ArtifactRef]] = {}
            for item in self._store.survey().found:
                versions.setdefault(item.ref.version, []).append(item.ref)
            self._versions = versions
        return self._versions.get(version, [])


def _unchecked(folder: Path, ref: ArtifactRef) -> Iterator[Fault]:
    """Files that nothing can be said of, since their manifest cannot be read."""
    try:
        entries = sorted(artifact_entries(folder))
    except OSError as error:
        yield Fault(
            "unreadable", ref, "", f"{label_of(ref)}: cannot read {folder}: {error.strerror or error}; {REMEDY}"
        )
        return
    for name, strange in entries:
        what = f"is {strange}" if strange else "cannot be compared, since its manifest cannot be read"
        text = f"{label_of(ref)}: file {shown_name(name)} in {folder} {what}; {REMEDY}"
        yield Fault("linked" if strange == "a link" else "unchecked", ref, name, text)


def whole_store(store: Store) -> tuple[list[Verified], list[Fault]]:
    """Look at all that a store holds; the faults are those of no single artifact, and of what runs have recorded.

    Raises:
        ArtifactError: there is no store.
    """
    if not store.root.is_dir():
        raise ArtifactError(f"there is no store in {store.root}; choose another with --store")
    surveyed = store.survey()
    items = [*verified(store, [item.ref for item in surveyed.found])]
    recorded = recorded_manifests(store.root)
    against = [recorded_fault(item.manifest, recorded.get(item.ref.version)) for item in items if item.manifest]
    return items, [*_displaced(surveyed, store), *(fault for fault in against if fault is not None)]


def _displaced(survey: Survey, store: Store) -> Iterator[Fault]:
    """Folders that hold an artifact which is not where it belongs, and those that cannot be looked into."""
    for place in survey.unreadable:
        yield Fault(
            "unreadable", None, str(place), f"cannot read the folder {place} of the store; give its owner the right"
        )
    for folder in survey.copies:
        try:
            manifest = unsealed(Manifest, (folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            continue
        own = store.folder(manifest.ref)
        if not os.path.lexists(own):
            text = f"{label_of(manifest.ref)} is missing from {own}: it was renamed or moved to {folder}; move it back"
            yield Fault("missing", manifest.ref, "", text)


@dataclass(frozen=True)
class Outside:
    """What was found of shards and weights outside the store; `unreachable` ones are not on this machine's disks."""

    n_hashed: int
    unreachable: list[str]
    faults: list[Fault]


def outside_of(manifests: Iterable[Manifest]) -> Outside:
    """Hash what artifacts were made of and that lies in files of this machine, each once."""
    wanted: dict[tuple[str, str], Source] = {}
    for manifest in manifests:
        for source in (*manifest.sources, *manifest.weights):
            wanted.setdefault((source.location, source.sha256), source)
    n_hashed, unreachable, faults = 0, [], []
    for source in wanted.values():
        path = Path(source.location)
        if not (path.is_absolute() and path.is_file()):
            unreachable.append(source.location)
            continue
        n_hashed += 1
        fault = _outside_fault(path, source)
        if fault is not None:
            faults.append(fault)
    return Outside(n_hashed, unreachable, faults)


def _outside_fault(path: Path, source: Source) -> Fault | None:
    try:
        found = file_sha256(path)
    except OSError as error:
        return Fault(
            "unreadable", None, str(path), f"cannot read {path}: {error.strerror or error}; give the right to read it"
        )
    if found == source.sha256:
        return None
    text = (
        f"{path} is not what artifacts were made of: sha256 {found[:12]}, expected {source.sha256[:12]} of"
        f" {source.size_bytes} bytes; put the file back, or run what used it again"
    )
    return Fault("changed", None, str(path), text)


def faults_in_words(faults: Sequence[Fault]) -> str:
    """One sentence for all faults."""
    if len(faults) == 1:
        return faults[0].text
    return f"{len(faults)} faults, the first: {faults[0].text}"
