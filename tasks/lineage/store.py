"""Everything made, under `STORE/KIND/VERSION/`: a folder that exists is complete."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, MachineError, PipelineError
from data_specs.manifest import ArtifactRef, FileEntry, Manifest, Recipe, Source
from tasks.lineage.checking.chain import Chain
from tasks.lineage.checking.faults import faults_in, first_of
from tasks.lineage.circumstances import RunContext, now
from tasks.lineage.contents import SCRATCH, is_pruned, label_of, read_manifest, read_pruned
from tasks.lineage.digest import recipe_ref
from tasks.lineage.disk import disk_of, is_full
from tasks.lineage.dropping.in_use import InUse
from tasks.lineage.finished_parts import Parts
from tasks.lineage.inputs import made_of
from tasks.lineage.leases import Leases
from tasks.lineage.listeners import Listener, Listeners
from tasks.lineage.listing import Survey, named_there, survey
from tasks.lineage.place import open_root
from tasks.lineage.publishing import Publication, publish
from tasks.lineage.remotes.elsewhere import KnownElsewhere
from tasks.lineage.usual_listeners import usual_listeners


@dataclass(frozen=True)
class Made:
    """An artifact that a run asked for, and whether it was there already."""

    ref: ArtifactRef
    path: Path
    reused: bool
    manifest: Manifest


@dataclass
class Build:
    """An artifact in the making; what lies in `folder` when the build ends becomes the artifact."""

    recipe: Recipe
    folder: Path
    parts: Parts
    sources: list[Source] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    known: dict[str, FileEntry] = field(default_factory=dict)  # files taken from artifacts that were checked
    pending: list[Callable[[], None]] = field(default_factory=list)  # what `folder` lacks until these are called
    taken_from: list[ArtifactRef] = field(default_factory=list)  # no recipe names them: their files are the same
    started: str = field(default_factory=now)

    def take(self, folder: Path, entry: FileEntry, name: str) -> None:
        """Make a file of an artifact that was checked this one's too: a hard link where the file system has them."""
        source, target = folder / entry.path, self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
        self.known[name] = entry.model_copy(update={"path": name})


Write = Callable[[Build], None]  # makes an artifact's files


class Store:
    """A folder of artifacts."""

    makes = True  # whether what is asked for and is not there is made

    def __init__(
        self, root: Path | str, *, hash_once: bool = False, listeners: Sequence[Listener] | None = None
    ) -> None:
        """Open the store in `root`, which need not be there yet.

        Args:
            root: its folder.
            hash_once: take what this object has checked or made for sound from then on, as within one run.
            listeners: hear of what is made and used; None means the usual ones, as the environment says.

        Raises:
            SpecError: it is a URL, or no path at all.
            ArtifactError: something else than a folder is there.
        """
        self.root = open_root(root)
        self.leases = Leases(self.root)
        self.uses = InUse(self.root)
        self.listeners = Listeners(usual_listeners(self.root) if listeners is None else listeners)
        self.elsewhere = KnownElsewhere(self.root)
        self._hash_once = hash_once
        self._sound: set[ArtifactRef] = set()
        self._promised: set[ArtifactRef] = set()  # counted on, and elsewhere
        self._chain = Chain(self.manifest_folder, once=hash_once)
        self.published: set[ArtifactRef] = set()

    def folder(self, ref: ArtifactRef) -> Path:
        """Where an artifact lies, here or not."""
        return self.root / ref.kind / ref.version

    def path(self, ref: ArtifactRef) -> Path:
        """The folder of an artifact, for its files: those that are elsewhere are brought here.

        Raises:
            Withdrawn: they were counted on, and cannot be had.
        """
        if not self.is_here(ref):
            self.elsewhere.bring(ref)
        return self.folder(ref)

    def materialise(self, recipe: Recipe, write: Write, context: RunContext) -> Made:
        """Return the artifact of a recipe, making it where it is not there yet.

        `write` fills `build.folder`. A process that dies leaves a scratch folder, which the
        next one with the same recipe takes up; `build.parts` says what is finished in it.

        Args:
            recipe: what decides the content.
            write: makes the files.
            context: recorded in the manifest.

        Returns:
            It, checked against its manifest when it was there already.

        Raises:
            ArtifactError: the artifact is there, but a file of it is missing or has changed; or it is not, and the
                store's disk is full or cannot be written.
        """
        return self.begin(recipe, write, context)()

    def begin(
        self, recipe: Recipe, write: Write, context: RunContext, ref: ArtifactRef | None = None
    ) -> Callable[[], Made]:
        """As `materialise`, but for what the disk takes its time for: that is left to what is returned, to be called once.

        Any thread may; until then the artifact is not there, and locked. `ref` is the recipe's, where that is known.
        """
        ref = ref or recipe_ref(recipe)
        # Before the lock: a store that nobody may write to can still be read.
        return self._found(ref) or self._begin(ref, recipe, write, context, self.leases.wait(ref))

    def begin_unless_taken(
        self, recipe: Recipe, write: Write, context: RunContext, ref: ArtifactRef | None = None
    ) -> Callable[[], Made] | None:
        """As `begin`, for what was not there a moment ago; None where another process or thread is making it."""
        ref = ref or recipe_ref(recipe)
        release = self.leases.take(ref)
        return None if release is None else self._begin(ref, recipe, write, context, release)

    def _begin(
        self, ref: ArtifactRef, recipe: Recipe, write: Write, context: RunContext, release: Callable[[], None]
    ) -> Callable[[], Made]:
        with ExitStack() as held:
            held.callback(release)
            if (found := self._found(ref)) is not None:
                return found
            if is_pruned(self.folder(ref)):
                self.listeners.used(self.manifest(ref), self.folder(ref))  # the manifest stays, whoever made it
            self.listeners.started(recipe, context)
            with self.listeners.told_of_failure(recipe), self._disk(ref):
                build = self._write(ref, recipe, write)
            lock = held.pop_all()

        def finish() -> Made:
            with lock, self.listeners.told_of_failure(recipe), self._disk(ref):
                return Made(ref, self.folder(ref), False, self._publish(ref, build, context))

        return finish

    def is_here(self, ref: ArtifactRef) -> bool:
        """Whether an artifact is in the store's folder, whatever state it is in; one whose files were dropped is not."""
        folder = self.folder(ref)
        return os.path.lexists(folder) and not is_pruned(folder)

    def holds(self, ref: ArtifactRef) -> bool:
        """Whether an artifact is there, here or elsewhere."""
        return self.is_here(ref) or self.elsewhere.holds(ref)

    def held(self, refs: Iterable[ArtifactRef]) -> set[ArtifactRef]:
        """Those of many artifacts that are there; only of what its kind's folder lists the disk is asked."""
        asked = [*refs]
        maybe = named_there(self.root, asked)
        return {ref for ref in asked if (ref in maybe and self.is_here(ref)) or self.elsewhere.holds(ref)}

    def _found(self, ref: ArtifactRef) -> Callable[[], Made] | None:
        self.uses.note(ref)
        if not self.holds(ref):
            return None
        made = Made(ref, self.folder(ref), True, self.ensure(ref))
        return lambda: made

    def _write(self, ref: ArtifactRef, recipe: Recipe, write: Write) -> Build:
        scratch = self.root / SCRATCH / f"{ref.kind}-{ref.version}"
        scratch.mkdir(parents=True, exist_ok=True)
        build = Build(recipe, scratch, Parts(scratch))
        build.parts.remove_unfinished()
        try:
            write(build)
        except PipelineError as error:
            if not (is_full(error) or isinstance(error, MachineError)):
                shutil.rmtree(scratch, ignore_errors=True)
            raise
        return build

    def _publish(self, ref: ArtifactRef, build: Build, context: RunContext) -> Manifest:
        inputs = made_of(build.recipe, context.models, self._chain.as_it_is, build.taken_from)
        about = Publication(ref, self.folder(ref), inputs, context, build.started)
        self.published.add(ref)  # before others see it: who finds it there knows whose it is
        manifest = publish(about, build, self.listeners.publishing)
        self._chain.keep(manifest)
        self._sound.add(ref)
        self.listeners.made(manifest, self.folder(ref))
        return manifest

    def _disk(self, ref: ArtifactRef) -> AbstractContextManager[None]:
        return disk_of(self.root, [self.root / name for name in (SCRATCH, ref.kind)], label_of(ref))

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact, here or elsewhere.

        Raises:
            ArtifactError: there is no such artifact, or its manifest cannot be read.
        """
        known = None if os.path.lexists(self.folder(ref)) else self.elsewhere.manifest(ref)
        return known or read_manifest(self.folder(ref), ref)

    def manifest_folder(self, ref: ArtifactRef) -> Path:
        """The folder with an artifact's manifest: its own, or of one whose files are in a remote, where that is kept."""
        folder = self.folder(ref)
        return folder if os.path.lexists(folder) else self.elsewhere.folder(ref)

    def ensure(self, ref: ArtifactRef) -> Manifest:
        """The manifest of an artifact that is sound; hashed once, where this object was asked to, and on arrival if elsewhere.

        Raises:
            ArtifactError: see `check`.
        """
        if not self.is_here(ref) and self.elsewhere.holds(ref):
            manifest = self.manifest(ref)
            if ref not in self._promised:
                if is_pruned(self.folder(ref)):
                    self._chain.require_dropped(ref, manifest)
                self.listeners.used(manifest, self.manifest_folder(ref))
                self._promised.add(ref)
            return manifest
        return self.manifest(ref) if self._hash_once and ref in self._sound else self.check(ref)

    def check(self, ref: ArtifactRef) -> Manifest:
        """Compare an artifact with its manifest, which is returned: name, files, sizes, digests, recipe, what it was made of.

        Raises:
            ArtifactError: a file is missing, changed, unlisted or a link, the version is not the recipe's, or an input
                has another content than when this was made.
        """
        if self.makes:
            self.uses.note(ref)
        manifest, folder = self.manifest(ref), self.path(ref)
        if is_pruned(folder):
            gone = f"its files were dropped on {read_pruned(folder, manifest).when[:10]}"
            raise ArtifactError(f"{label_of(ref)}: {gone}; the run that made it makes them again")
        if (fault := first_of(faults_in(folder, ref, manifest))) is not None:
            raise ArtifactError(fault.text)
        self._chain.require_inputs(manifest)
        self._chain.keep(manifest)
        if ref not in self.published:
            self.listeners.used(manifest, folder)
        self._sound.add(ref)
        return manifest

    def survey(self) -> Survey:
        """All that the store holds, broken artifacts and copies too; files are not hashed."""
        return survey(self.root)

    def refs(self) -> list[ArtifactRef]:
        """All artifacts that are there to be used, as far as their manifests say, by kind and version."""
        return [item.ref for item in self.survey().found if item.problem is None and not item.pruned]

    def temporary_folder(self, name: str) -> Path:
        """A place for files of one run: in the store, or in the system's own where the store cannot be written."""
        folder = self.root / SCRATCH / name
        nearest = next(place for place in folder.parents if place.is_dir())
        return folder if os.access(nearest, os.W_OK | os.X_OK) else Path(tempfile.mkdtemp(prefix="uwm-"))

    def find(self, version: str) -> ArtifactRef:
        """The artifact whose version begins with `version`.

        Raises:
            ArtifactError: none does, or several do.
        """
        found = [item.ref for item in survey(self.root, version).found] or self.elsewhere.known(version)
        if len(found) != 1:
            some = ", ".join(f"{ref.kind} {ref.version[:16]}" for ref in found[:4])
            got = f"{len(found)} artifacts ({some})" if found else f"none of the {len(self.survey().found)} artifacts"
            raise ArtifactError(f"version {version[:80]!r} names {got} in {self.root}; see `uwm artifacts list`")
        return found[0]
