"""Putting artifacts into a remote: after all that they were made of, files first and the manifest last."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from data_specs.errors import ArtifactError
from data_specs.manifest import PART, ArtifactRef, FileEntry, Manifest
from tasks.lineage.checking.faults import content_digest
from tasks.lineage.contents import MANIFEST
from tasks.lineage.disk import is_full
from tasks.lineage.remotes.faults import Damaged, Refused, RemoteFault
from tasks.lineage.remotes.remote import Remote
from tasks.lineage.trace import artifacts_in
from tasks.lineage.trust.signatures import SIGNATURE_ENDING, signatures_of

if TYPE_CHECKING:
    from tasks.lineage.store import Store

_SENDING = 8


class Pusher:
    """Puts artifacts of a store into one remote, so that what is visible there has its whole history there."""

    def __init__(self, store: "Store", remote: Remote, told: Callable[[ArtifactRef], None] = lambda _: None) -> None:
        """Put artifacts of `store` into `remote`; `told` hears of each that was put there."""
        self.remote = remote
        self.sent: dict[ArtifactRef, int] = {}  # bytes
        self.others: set[ArtifactRef] = set()  # of which the remote has another's, and what was made of these here
        self._store, self._told = store, told
        self._there: set[ArtifactRef] = set()
        self._files: set[str] = set()  # digests

    def push(self, ref: ArtifactRef) -> None:
        """Put an artifact there, and before it all that it was made of; what is not here is left out.

        Raises:
            RemoteFault: the remote does not answer, or refuses.
            ArtifactError: a file here changed since it was made.
        """
        if ref in self._there or ref in self.others or not self._store.is_here(ref):
            return
        try:
            manifest = self._store.ensure(ref)
        except ArtifactError:
            if self._store.is_here(ref):
                raise
            return  # discarded while it was looked at
        first = self._first(ref)
        if first is None:
            inputs = artifacts_in(manifest.recipe.inputs).values()
            self._push_all(inputs)
            # Beside inputs that it was not made of, nobody could use it.
            is_other = not self.others.isdisjoint(inputs) or not self._send(ref, manifest)
        else:
            is_other = not _same(first, manifest)
            if first == manifest:
                self._sign(ref)
        (self.others if is_other else self._there).add(ref)

    @property
    def n_there(self) -> int:
        """How many artifacts were found or put there."""
        return len(self._there)

    def _push_all(self, refs: Iterable[ArtifactRef]) -> None:
        parts = []
        for ref in refs:
            if ref.kind.endswith(PART):
                parts.append(ref)
            else:
                self.push(ref)
        with ThreadPoolExecutor(_SENDING) as pool:
            for _ in pool.map(self.push, parts):
                pass

    def _first(self, ref: ArtifactRef) -> Manifest | None:
        try:
            found = self.remote.manifest(ref)
        except Damaged:
            return None
        return None if found is None else found[0]

    def _send(self, ref: ArtifactRef, manifest: Manifest) -> bool:
        """Put files and manifest there; False where somebody else was faster with other bytes."""
        folder = self._store.folder(ref)

        def send(entry: FileEntry) -> int:
            if entry.sha256 in self._files:
                return 0
            n_bytes = self.remote.send(entry, folder / entry.path)
            self._files.add(entry.sha256)
            return n_bytes

        try:
            with ThreadPoolExecutor(_SENDING) as pool:
                n_bytes = sum(pool.map(send, manifest.files))
            is_first = self.remote.publish(ref, (folder / MANIFEST).read_bytes())
        except (FileNotFoundError, RemoteFault):
            if self._store.is_here(ref):
                raise
            return True  # it was joined with others meanwhile, and discarded
        except OSError as error:
            if is_full(error):
                raise Refused("no space is left there") from error
            raise
        if not is_first:
            first = self._first(ref)
            return first is None or _same(first, manifest)
        self._sign(ref)
        self.sent[ref] = n_bytes
        self._told(ref)
        return True

    def _sign(self, ref: ArtifactRef) -> None:
        for path in sorted(signatures_of(self._store.root, ref).glob(f"*{SIGNATURE_ENDING}")):
            self.remote.sign(ref, path.name, path.read_bytes())


def _same(one: Manifest, other: Manifest) -> bool:
    return content_digest(one) == content_digest(other)
