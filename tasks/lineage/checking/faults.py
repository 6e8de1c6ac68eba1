"""What is wrong with an artifact: everything in its folder, and what it was made of, compared with its manifest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, FileEntry, MadeOf, Manifest
from tasks.lineage.contents import (
    MANIFEST,
    PRUNED,
    REMEDY,
    artifact_entries,
    is_pruned,
    label_of,
    read_pruned,
    require_own,
    shown_name,
)
from tasks.lineage.digest import canonical_json, describe_files, text_sha256

Wrong = Literal["missing", "extra", "changed", "linked", "unreadable", "unchecked"]
# Counts that say how an artifact came to be, which another making of the same may do otherwise.
_OF_THE_MAKING = ("samples_read", "base_model")


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it was recorded."""

    wrong: Wrong
    artifact: ArtifactRef | None  # None for what lies outside the store
    place: str  # path in the artifact's folder, or of what lies outside
    text: str  # a sentence, with what to do


def content_digest(manifest: Manifest) -> str:
    """Digest of what an artifact is, whoever made it when and where: version, files and counts."""
    counts = {name: value for name, value in manifest.counts.items() if name not in _OF_THE_MAKING}
    files = [entry.model_dump() for entry in manifest.files]
    return text_sha256(canonical_json({"version": manifest.version, "files": files, "counts": counts}))


def named_as_it_is(manifest: Manifest) -> MadeOf:
    """How what is made of an artifact names it."""
    return MadeOf(
        kind=manifest.recipe.kind,
        version=manifest.version,
        manifest=manifest.digest,
        content=content_digest(manifest),
        environment=manifest.circumstances.environment,
    )


def faults_in(folder: Path, ref: ArtifactRef, manifest: Manifest) -> Iterator[Fault]:
    """Compare all that lies in an artifact's folder with its manifest; all files are hashed.

    Args:
        folder: of the artifact.
        ref: under which it lies there.
        manifest: as its file says, whether or not that changed.

    Yields:
        A fault for each file that is missing, unlisted, changed, or no plain file; missing ones are none where the
        artifact was pruned.
    """
    label, listed = label_of(ref), {entry.path: entry for entry in manifest.files}
    try:
        require_own(manifest, ref)
    except ArtifactError as error:
        yield Fault("changed", ref, MANIFEST, str(error))
    try:
        entries = dict(artifact_entries(folder))
    except OSError as error:
        text = f"{label}: cannot read {error.filename or folder}: {error.strerror or error}; {REMEDY}"
        yield Fault("unreadable", ref, "", text)
        return
    for name, strange in sorted(entries.items()):
        if strange is not None:
            said = f"file {shown_name(name)} in {folder} is {strange}, expected a plain file"
            yield Fault("linked" if strange == "a link" else "changed", ref, name, f"{label}: {said}; {REMEDY}")
    if is_pruned(folder):
        try:
            read_pruned(folder, manifest)
        except ArtifactError as error:
            yield Fault("changed", ref, PRUNED, str(error))
    else:
        for name in sorted(listed.keys() - entries.keys()):
            yield Fault("missing", ref, name, f"{label}: file {shown_name(name)} is missing from {folder}; {REMEDY}")
    for name in sorted(entries.keys() - listed.keys()):
        said = f"file {shown_name(name)} in {folder} is not in its manifest"
        yield Fault("extra", ref, name, f"{label}: {said}; {REMEDY}")
    plain = [name for name, strange in entries.items() if strange is None and name in listed]
    for found in _described(folder, ref, plain):
        if isinstance(found, Fault):
            yield found
        elif found != listed[found.path]:
            yield Fault("changed", ref, found.path, _changed(label, found, listed[found.path]))


def _changed(label: str, found: FileEntry, expected: FileEntry) -> str:
    return (
        f"{label}: file {shown_name(found.path)} changed since it was made: sha256 {found.sha256[:12]} of"
        f" {found.size_bytes} bytes, expected {expected.sha256[:12]} of {expected.size_bytes}; {REMEDY}"
    )


def _described(folder: Path, ref: ArtifactRef, names: list[str]) -> Iterator[FileEntry | Fault]:
    try:
        yield from describe_files(folder, names)
    except OSError as error:
        if len(names) == 1:
            text = f"{label_of(ref)}: cannot read {error.filename or folder}: {error.strerror}; {REMEDY}"
            yield Fault("unreadable", ref, names[0], text)
            return
        for name in sorted(names):
            yield from _described(folder, ref, [name])


@dataclass(frozen=True)
class ChangedInput:
    """An artifact that is not what another was made of; `content` says that its files and counts are the same."""

    role: str
    made_of: MadeOf
    found: str  # digest of its manifest now
    same_content: bool


def changed_inputs(
    manifest: Manifest, digest_of: Callable[[ArtifactRef], str | None], read: Callable[[ArtifactRef], Manifest]
) -> Iterator[ChangedInput]:
    """What of an artifact's inputs has another manifest now; those that are not there are passed over.

    Args:
        manifest: of the artifact.
        digest_of: the digest of an input's manifest as it is now; None where it is not there.
        read: the manifest of an input; an ArtifactError where there is none that can be read.
    """
    for role, made_of in named_inputs(manifest):
        found = digest_of(made_of.ref) if made_of.manifest is not None else None
        if found is None or found == made_of.manifest:
            continue
        try:
            same = content_digest(read(made_of.ref)) == made_of.content
        except ArtifactError:
            same = False
        yield ChangedInput(role, made_of, found, same)


def named_inputs(manifest: Manifest) -> Iterator[tuple[str, MadeOf]]:
    """The inputs of a manifest one by one, with their roles."""
    for role, several in manifest.inputs.items():
        yield from ((role, made_of) for made_of in several)


def input_fault(ref: ArtifactRef, changed: ChangedInput) -> Fault:
    """The sentence on an input that is not what an artifact was made of."""
    other = label_of(changed.made_of)
    digests = f"digest {changed.found[:12]}, expected {(changed.made_of.manifest or '')[:12]}"
    if changed.same_content:
        what = f"its manifest is another ({digests}), though its files are the same: it was made again, or somebody rewrote it"
    else:
        what = f"it was changed, or came out otherwise when it was made again (its manifest has {digests})"
    text = f"{other} is not what {label_of(ref)} was made of: {what}; remove the folders of both to have them made anew"
    return Fault("changed", changed.made_of.ref, MANIFEST, text)


def first_of(faults: Iterable[Fault]) -> Fault | None:
    """The first of some faults, if there is any."""
    return next(iter(faults), None)
