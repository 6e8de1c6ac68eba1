"""A finished build becomes an artifact: its files are described, its manifest is written, it is put in its place."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_specs.errors import ArtifactError
from data_specs.manifest import PART, ArtifactRef, FileEntry, MadeOf, Manifest, Source
from tasks.lineage.base_weights import models_behind, weights_sources
from tasks.lineage.circumstances import RunContext, describe_circumstances
from tasks.lineage.contents import (
    MANIFEST,
    PRUNED,
    artifact_files,
    is_pruned,
    label_of,
    read_manifest,
    read_pruned,
    shown_name,
)
from tasks.lineage.digest import describe_files
from tasks.lineage.disk import sync
from tasks.lineage.environment import environment_changes, environment_here, environment_when_made
from tasks.lineage.finished_parts import PARTS_FOLDER
from tasks.lineage.sealed_json import sealed

if TYPE_CHECKING:
    from tasks.lineage.store import Build


@dataclass(frozen=True)
class Publication:
    """What a manifest says of an artifact beside what its build has."""

    ref: ArtifactRef
    target: Path  # its folder
    inputs: Mapping[str, list[MadeOf]]  # what it was made of, by role
    context: RunContext
    started: str  # when its making began


def publish(about: Publication, build: "Build", publishing: Callable[[Manifest, Path], None]) -> Manifest:
    """Put a build in its place; where files of the same artifact were dropped, under the manifest that is there.

    Args:
        about: of the artifact.
        build: what was made.
        publishing: is told when all is ready, a moment before it is in its place.

    Returns:
        Its manifest.

    Raises:
        ArtifactError: files that were dropped come out otherwise now.
    """
    ref, target, context = about.ref, about.target, about.context
    for complete in build.pending:
        complete()
    shutil.rmtree(build.folder / PARTS_FOLDER, ignore_errors=True)
    (build.folder / MANIFEST).unlink(missing_ok=True)
    names = artifact_files(build.folder, ref)
    fresh = [name for name in names if name not in build.known]
    files = [*describe_files(build.folder, fresh), *(build.known[name] for name in names if name in build.known)]
    files.sort(key=lambda entry: entry.path)
    if is_pruned(target):
        return _restore(about, build, files)
    manifest, data = sealed(
        Manifest(
            version=ref.version,
            recipe=build.recipe,
            modules=build.recipe.modules,
            inputs=dict(about.inputs),
            files=files,
            sources=build.sources if ref.kind.endswith(PART) else _with_trust(build.sources, context.trusted),
            weights=weights_sources(models_behind(build.recipe, context.models).values()),
            settings=None if ref.kind.endswith(PART) else context.settings,
            counts=build.counts,
            circumstances=describe_circumstances(context, started=about.started),
        )
    )
    (build.folder / MANIFEST).write_bytes(data)
    folder = os.fspath(build.folder)
    for name in [*fresh, MANIFEST]:
        sync(f"{folder}/{name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    publishing(manifest, build.folder)
    os.rename(build.folder, target)
    sync(target.parent)
    return manifest


def _with_trust(sources: Iterable[Source], trusted: Mapping[str, str]) -> list[Source]:
    """Sources, and of those that this run did not read on whose word; what is read for a part is always hashed."""
    return [source.model_copy(update={"etag": trusted.get(source.sha256)}) for source in sources]


def _restore(about: Publication, build: "Build", files: Sequence[FileEntry]) -> Manifest:
    """Give an artifact its dropped files back; the note that they were is removed last, so that a cut leaves it dropped."""
    ref, target = about.ref, about.target
    manifest = read_manifest(target, ref)
    pruned = read_pruned(target, manifest)
    if [*files] != sorted(manifest.files, key=lambda entry: entry.path):
        shutil.rmtree(build.folder, ignore_errors=True)
        here = environment_here(about.context.device, about.context.precision)
        changes = environment_changes(environment_when_made(manifest.circumstances), here)
        differs = ", ".join(f"{name} {before} then, {after} now" for name, (before, after) in changes.items())
        raise ArtifactError(
            f"{label_of(ref)}: its files were dropped on {pruned.when[:10]} and come out otherwise now:"
            f" {_first_difference(files, manifest.files)}; {differs or 'no library, machine or device differs'}; remove"
            f" {target} to take what comes out now"
        )
    for entry in files:
        place = target / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        sync(build.folder / entry.path)
        os.replace(build.folder / entry.path, place)
    (target / PRUNED).unlink()
    sync(target)
    shutil.rmtree(build.folder, ignore_errors=True)
    return manifest


def _first_difference(found: Sequence[FileEntry], expected: Sequence[FileEntry]) -> str:
    now, then = ({entry.path: entry.sha256 for entry in entries} for entries in (found, expected))
    name = next(name for name in sorted({*now, *then}) if now.get(name) != then.get(name))
    digests = [(digests.get(name) or "none")[:12] for digests in (now, then)]
    return f"file {shown_name(name)} has sha256 {digests[0]}, expected {digests[1]}"
