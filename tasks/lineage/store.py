"""Everything made, under `STORE/KIND/VERSION/`: a folder that exists is complete."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from data_specs.errors import ArtifactError, PipelineError
from data_specs.manifest import ArtifactRef, Manifest, Recipe, Source
from tasks.lineage.circumstances import RunContext, describe_circumstances, now
from tasks.lineage.digest import describe_files, recipe_version
from tasks.lineage.parts import PARTS_FOLDER, Parts

MANIFEST = "manifest.json"
_SCRATCH = ".scratch"
_LOCKS = ".locks"


@dataclass(frozen=True)
class Made:
    """An artifact that a run asked for, and whether it was there already."""

    ref: ArtifactRef
    path: Path
    reused: bool


@dataclass
class Build:
    """An artifact in the making; what lies in `folder` when the build ends becomes the artifact."""

    recipe: Recipe
    folder: Path
    parts: Parts
    sources: list[Source] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


class Store:
    """A folder of artifacts."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()

    def path(self, ref: ArtifactRef) -> Path:
        """The folder of an artifact, there or not."""
        return self.root / ref.kind / ref.version

    def materialise(self, recipe: Recipe, write: Callable[[Build], None], context: RunContext) -> Made:
        """Return the artifact of a recipe, making it where it is not there yet.

        `write` fills `build.folder`. A process that dies leaves a scratch folder, which the
        next one with the same recipe takes up; `build.parts` says what is finished in it.

        Args:
            recipe: what decides the content.
            write: makes the files.
            context: recorded in the manifest.

        Returns:
            The artifact, checked against its manifest when it was there already.

        Raises:
            ArtifactError: the artifact is there, but a file of it is missing or has changed.
        """
        ref = ArtifactRef(kind=recipe.kind, version=recipe_version(recipe))
        with self._lock(ref):
            if self.path(ref).exists():
                self.check(ref)
                return Made(ref, self.path(ref), reused=True)
            started = now()
            scratch = self.root / _SCRATCH / f"{ref.kind}-{ref.version}"
            scratch.mkdir(parents=True, exist_ok=True)
            build = Build(recipe, scratch, Parts(scratch))
            build.parts.remove_unfinished()
            try:
                write(build)
            except PipelineError:
                shutil.rmtree(scratch)
                raise
            self._publish(ref, build, context, started)
        return Made(ref, self.path(ref), reused=False)

    def _publish(self, ref: ArtifactRef, build: Build, context: RunContext, started: str) -> None:
        shutil.rmtree(build.folder / PARTS_FOLDER, ignore_errors=True)
        (build.folder / MANIFEST).unlink(missing_ok=True)
        manifest = Manifest(
            version=ref.version,
            recipe=build.recipe,
            files=describe_files(build.folder, _relative_files(build.folder)),
            sources=build.sources,
            counts=build.counts,
            circumstances=describe_circumstances(context, started=started),
        )
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        (build.folder / MANIFEST).write_text(text, encoding="utf-8")
        for name in [*_relative_files(build.folder), MANIFEST]:
            _sync(build.folder / name)
        target = self.path(ref)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(build.folder, target)
        _sync(target.parent)

    @contextmanager
    def _lock(self, ref: ArtifactRef) -> Iterator[None]:
        folder = self.root / _LOCKS
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(
                f"cannot write to the store {self.root}: {error}; choose another with --store"
            ) from error
        with FileLock(folder / f"{ref.version}.lock"):
            yield

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact.

        Raises:
            ArtifactError: there is no such artifact, or its manifest cannot be read.
        """
        path = self.path(ref) / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ArtifactError(f"{ref.kind} {ref.version[:12]} has no readable {path}: {error}") from error
        except ValidationError as error:
            raise ArtifactError(f"{path} is not a manifest: {error.errors()[0]['msg']}; {_REMEDY}") from error

    def check(self, ref: ArtifactRef) -> Manifest:
        """Compare an artifact with its manifest: name, files, sizes, digests, recipe.

        Args:
            ref: which artifact.

        Returns:
            Its manifest.

        Raises:
            ArtifactError: a file is missing, changed or unlisted, or the version is not the recipe's.
        """
        manifest, folder = self.manifest(ref), self.path(ref)
        label = f"{ref.kind} {ref.version[:12]}"
        computed = recipe_version(manifest.recipe)
        if (manifest.version, manifest.recipe.kind) != (ref.version, ref.kind) or computed != ref.version:
            raise ArtifactError(
                f"{label}: its manifest is of {manifest.recipe.kind} {manifest.version[:12]}, whose recipe has digest"
                f" {computed[:12]}; {_REMEDY}"
            )
        listed = {entry.path: entry for entry in manifest.files}
        present = set(_relative_files(folder))
        for name in sorted(listed.keys() - present):
            raise ArtifactError(f"{label}: file {name} is missing from {folder}; {_REMEDY}")
        for name in sorted(present - listed.keys()):
            raise ArtifactError(f"{label}: file {name} in {folder} is not in its manifest; {_REMEDY}")
        for found in describe_files(folder, listed):
            expected = listed[found.path]
            if found != expected:
                raise ArtifactError(
                    f"{label}: file {found.path} changed since it was made: sha256 {found.sha256[:12]} of"
                    f" {found.size_bytes} bytes, expected {expected.sha256[:12]} of {expected.size_bytes}; {_REMEDY}"
                )
        return manifest

    def refs(self) -> list[ArtifactRef]:
        """All artifacts, by kind and version."""
        folders = self.root.glob("*/*/" + MANIFEST) if self.root.is_dir() else []
        pairs = sorted((path.parent.parent.name, path.parent.name) for path in folders)
        return [ArtifactRef(kind=kind, version=version) for kind, version in pairs if _VERSION.match(version)]

    def find(self, version: str) -> ArtifactRef:
        """The artifact whose version begins with `version`.

        Raises:
            ArtifactError: none does, or several do.
        """
        found = [ref for ref in self.refs() if ref.version.startswith(version)]
        if len(found) != 1:
            some = ", ".join(f"{ref.kind} {ref.version[:16]}" for ref in found[:4])
            got = f"{len(found)} artifacts ({some})" if found else f"none of the {len(self.refs())} artifacts"
            raise ArtifactError(f"version {version!r} names {got} in {self.root}; see `uwm artifacts list`")
        return found[0]


def check_beside_manifest(path: Path) -> None:
    """Compare a file of an artifact's folder, in a store or copied out of it, with the manifest beside it.

    Raises:
        ArtifactError: it is not the file that the manifest lists.
    """
    beside = path.parent / MANIFEST
    if not beside.is_file():
        return
    try:
        listed = {entry.path: entry for entry in Manifest.model_validate_json(beside.read_bytes()).files}
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{beside} is not a readable manifest; {_REMEDY}") from error
    (found,) = describe_files(path.parent, [path.name])
    if listed.get(path.name) != found:
        raise ArtifactError(f"{path} is not the file that {MANIFEST} beside it lists: it has changed; {_REMEDY}")


_VERSION = re.compile(r"^[0-9a-f]{64}$")
_REMEDY = "remove the artifact's folder to have it made anew"


def _relative_files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) != MANIFEST)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
