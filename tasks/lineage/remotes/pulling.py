"""What remotes have of a store's artifacts: their manifests when they are asked for, their files when these are."""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_specs.errors import ArtifactError
from data_specs.manifest import PART, ArtifactRef, FileEntry, Manifest
from tasks.lineage.checking.faults import content_digest, named_inputs
from tasks.lineage.contents import MANIFEST, PRUNED, SCRATCH, label_of, read_manifest
from tasks.lineage.digest import file_sha256
from tasks.lineage.disk import disk_of, sync
from tasks.lineage.progress import advance, notice, stage
from tasks.lineage.remotes.elsewhere import KnownElsewhere, Withdrawn
from tasks.lineage.remotes.faults import Damaged, RemoteFault, Unreachable
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.trace import artifacts_in
from tasks.lineage.trust.keys import trusted_key_paths
from tasks.lineage.trust.signatures import signatures_of

if TYPE_CHECKING:
    from tasks.lineage.store import Store

_ASKING, _FETCHING = 16, 8


@dataclass(frozen=True)
class Promise:
    """An artifact that a remote has."""

    manifest: Manifest
    content: bytes  # of the manifest's file
    remote: Remote


class Remotes(KnownElsewhere):
    """Looks into remotes for what is not in a store's folder; each is asked once about an artifact.

    One that stops to answer is not asked any more. What is known of it stays: only artifacts whose files are asked for
    and cannot be had must be made.
    """

    def __init__(self, store: "Store", remotes: Sequence[Remote]) -> None:
        """Look into `remotes`, in their order, and bring what is found into `store`."""
        super().__init__(store.root)
        self.remotes = remotes
        self.pulled: dict[ArtifactRef, int] = {}  # bytes
        self._store = store
        self._promises: dict[ArtifactRef, Promise | None] = {}
        self._broken: set[ArtifactRef] = set()
        self._lock = threading.Lock()

    def holds(self, ref: ArtifactRef) -> bool:
        """See `KnownElsewhere`."""
        return ref not in self._broken and self._promise(ref) is not None

    def ask(self, refs: Iterable[ArtifactRef]) -> None:
        """See `KnownElsewhere`."""
        unknown = [ref for ref in dict.fromkeys(refs) if not (ref in self._promises or self._store.is_here(ref))]
        with ThreadPoolExecutor(_ASKING) as pool:
            for _ in pool.map(self._promise, unknown):
                pass

    def know(self, refs: Iterable[ArtifactRef]) -> set[ArtifactRef]:
        """See `KnownElsewhere`."""
        level, seen = {*refs}, set[ArtifactRef]()
        while level:
            seen |= level
            self.ask(ref for ref in level if not (self.folder(ref) / MANIFEST).exists())
            level = {item for ref in level for item in self._inputs(ref)} - seen
        return seen

    def _inputs(self, ref: ArtifactRef) -> Iterable[ArtifactRef]:
        if ref.kind.endswith(PART):  # of a shard
            return ()
        known = self._store.manifest(ref) if self._store.is_here(ref) else super().manifest(ref)
        return () if known is None else artifacts_in(known.recipe.inputs).values()

    def is_from(self, remote: Remote, ref: ArtifactRef) -> bool:
        """Whether an artifact was found in this remote."""
        promise = self._promises.get(ref)
        return promise is not None and promise.remote is remote and ref not in self._broken

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """See `KnownElsewhere`."""
        promise = self._promise(ref)
        return super().manifest(ref) if promise is None else promise.manifest

    def known(self, beginning: str = "") -> list[ArtifactRef]:
        """See `KnownElsewhere`; those that are in a remote, too.

        Raises:
            ArtifactError: a remote does not answer, or refuses.
        """
        found = dict.fromkeys(super().known(beginning))
        for remote in self.remotes:
            found |= dict.fromkeys(ref for ref in remote.refs() if ref.version.startswith(beginning))
        return [*found]

    def bring(self, ref: ArtifactRef) -> None:
        """See `KnownElsewhere`.

        Raises:
            ArtifactError: they did not come before.
        """
        promise = self._promise(ref)
        if promise is None:
            return
        where = f"{label_of(ref)} is not here, and {promise.remote.url}"
        if ref in self._broken:
            raise ArtifactError(f"{where} did not give it; start again to have it made")
        try:
            with stage(f"pull {label_of(ref)}", len(promise.manifest.files), "files"):
                self.pull(ref, promise)
        except RemoteFault as error:
            raise Withdrawn(f"{where} does not give it: {error}") from error

    def bring_all(self, refs: Iterable[ArtifactRef]) -> None:
        """See `KnownElsewhere`."""
        wanted = [*dict.fromkeys(refs)]
        self.ask(wanted)
        found = [(ref, self._promise(ref)) for ref in wanted if not self._store.is_here(ref) and self.holds(ref)]
        if not found:
            return
        with stage(f"pull {found[0][0].kind}", len(found), "artifacts"):
            for ref, promise in found:
                try:
                    if promise is not None:
                        self.pull(ref, promise)
                except RemoteFault as error:
                    notice(f"{label_of(ref)} does not come from a remote: {error}; it is made here")
                advance(f"pull {ref.kind}")

    def pull(self, ref: ArtifactRef, promise: Promise) -> None:
        """Bring an artifact's files here; it is there when all of them are, each as the manifest says.

        Raises:
            RemoteFault: no remote gives one of them.
            ArtifactError: the disk is full, or cannot be written.
        """
        release = self._store.leases.wait(ref)
        try:
            if not self._store.is_here(ref):
                root = self._store.root
                with disk_of(root, [root / SCRATCH, root / ref.kind], label_of(ref)):
                    self._pull(ref, promise)
        except RemoteFault:
            self._broken.add(ref)
            promise.remote.doubt(ref)
            raise
        finally:
            release()

    def _pull(self, ref: ArtifactRef, promise: Promise) -> None:
        draft = self._store.root / SCRATCH / f"{ref.kind}-{ref.version}.pulled"
        draft.mkdir(parents=True, exist_ok=True)
        files = promise.manifest.files
        for folder in {(draft / entry.path).parent for entry in files}:
            folder.mkdir(parents=True, exist_ok=True)

        def fetch(entry: FileEntry) -> None:
            self._fetch(entry, draft / entry.path, promise.remote)
            advance(f"pull {label_of(ref)}")

        with ThreadPoolExecutor(_FETCHING) as pool:
            for _ in pool.map(fetch, files):
                pass
        self._keep_signatures(ref, promise.remote)
        _put_in_place(draft, self._store.folder(ref), promise, self._store.listeners.arriving)
        self.pulled[ref] = sum(entry.size_bytes for entry in files)

    def _fetch(self, entry: FileEntry, target: Path, first: Remote) -> None:
        if _is(target, entry):  # of a pull that was cut off
            return
        fault: RemoteFault = Unreachable("it does not answer any more")
        # Files lie by their digest, so that any remote's will do.
        for remote in [first, *(other for other in self.remotes if other is not first)]:
            if remote.silent is not None:
                continue
            try:
                remote.fetch(entry, target)
                return
            except Damaged as error:
                fault = error
            except RemoteFault as error:
                fault = error
                self.silence(remote, error)
        raise fault

    def _promise(self, ref: ArtifactRef) -> Promise | None:
        if ref not in self._promises:
            found = self._look_up(ref)
            with self._lock:
                self._promises.setdefault(ref, found)
        return self._promises[ref]

    def _look_up(self, ref: ArtifactRef) -> Promise | None:
        for remote in self.remotes:
            if remote.silent is not None:
                continue
            try:
                found = remote.manifest(ref)
            except Damaged as error:
                notice(f"{label_of(ref)} in {remote.url} is passed over: {error}")
                continue
            except RemoteFault as error:
                self.silence(remote, error)
                continue
            if found is not None and self._fits(found[0], remote):
                self.keep_known(ref, found[1])
                if trusted_key_paths():  # which are asked before the files are
                    try:
                        self._keep_signatures(ref, remote)
                    except RemoteFault as error:
                        self.silence(remote, error)
                        continue
                return Promise(*found, remote)
        return None

    def _fits(self, manifest: Manifest, remote: Remote) -> bool:
        """Whether an artifact was made of what is here, or was promised, and not of what came out otherwise elsewhere."""
        own = self._own_manifest(manifest.ref)
        if own is not None and content_digest(own) != content_digest(manifest):
            return False  # it was dropped here, and what is there is another
        for _, made_of in named_inputs(manifest):
            known = self._own_manifest(made_of.ref)
            if known is None and (promise := self._promises.get(made_of.ref)) is not None:
                known = promise.manifest
            if known is not None and made_of.content is not None and content_digest(known) != made_of.content:
                notice(
                    f"{label_of(manifest.ref)} in {remote.url} is passed over: it was made of another"
                    f" {label_of(made_of.ref)} than is used here"
                )
                return False
        return True

    def _keep_signatures(self, ref: ArtifactRef, remote: Remote) -> None:
        for name, content in remote.signatures(ref).items():
            target = signatures_of(self._store.root, ref) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.pulled")
            draft.write_bytes(content)
            os.replace(draft, target)

    def _own_manifest(self, ref: ArtifactRef) -> Manifest | None:
        folder = self._store.folder(ref)
        return read_manifest(folder, ref) if os.path.lexists(folder) else None

    def silence(self, remote: Remote, error: RemoteFault) -> None:
        """Ask a remote nothing any more, and say so once."""
        with self._lock:
            told, remote.silent = remote.silent is not None, str(error)
        if not told:
            notice(f"remote {remote.url}: {error}; the run goes on without it")


def _is(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.size_bytes and file_sha256(path) == entry.sha256


def _put_in_place(draft: Path, target: Path, promise: Promise, arriving: Callable[[Manifest, Path, str], None]) -> None:
    files = [entry.path for entry in promise.manifest.files]
    # A pull that was cut off may have been of another writer's.
    for path in [path for path in draft.rglob("*") if path.is_file()]:
        if path.relative_to(draft).as_posix() not in files:
            path.unlink()
    for name in files:
        sync(draft / name)
    if os.path.lexists(target):  # files that were dropped here come back, the note that they were goes last
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft / name, target / name)
        (target / PRUNED).unlink()
        shutil.rmtree(draft)
        sync(target)
        return
    (draft / MANIFEST).write_bytes(promise.content)
    sync(draft / MANIFEST)
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving(promise.manifest, draft, promise.remote.url)
    os.rename(draft, target)
    sync(target.parent)
