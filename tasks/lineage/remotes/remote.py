"""One remote: manifests by kind and version, and the files that they list by digest."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data_specs.errors import ArtifactError
from data_specs.manifest import KIND_PATTERN, VERSION_PATTERN, ArtifactRef, FileEntry, Manifest
from tasks.lineage.contents import MANIFEST, require_own
from tasks.lineage.digest import file_sha256
from tasks.lineage.remotes.address import remote_url
from tasks.lineage.remotes.faults import Damaged, RemoteFault
from tasks.lineage.remotes.files import open_files
from tasks.lineage.sealed_json import unsealed
from tasks.lineage.trust.signatures import SIGNATURE_ENDING, SIGNATURES_FOLDER

_FILES = ".files"
_KEY = re.compile(rf"({KIND_PATTERN.strip('^$')})/({VERSION_PATTERN.strip('^$')})/{re.escape(MANIFEST)}")
_SIGNATURE = re.compile(rf"[0-9A-Za-z_-]+{re.escape(SIGNATURE_ENDING)}")
_TRIES = 2  # of a file that arrives otherwise than it should
_MOST_PATH = 1024


class Remote:
    """Artifacts under a URL.

    `PREFIX/KIND/VERSION/manifest.json` is put there last, so that what is visible is complete, and only where there is
    none. The files that it lists lie under `PREFIX/.files/` by their SHA-256: the same bytes are there once, and writers
    of the same file write the same.
    """

    def __init__(self, url: str) -> None:
        """Use a URL; nothing is asked yet.

        Raises:
            SpecError: it is none, or of a kind that is not known here.
        """
        self.url = remote_url(url)
        self._files = open_files(self.url)
        self.silent: str | None = None  # why it is not asked any more
        self._unsound: set[str] = set()  # keys whose content was found to be wrong

    def require(self) -> None:
        """Make sure that it answers.

        Raises:
            ArtifactError: it does not, or refuses.
        """
        self.silent = None
        try:
            self._files.require()
        except (RemoteFault, OSError) as error:
            raise ArtifactError(f"remote {self.url}: {error}") from error

    def manifest(self, ref: ArtifactRef) -> tuple[Manifest, bytes] | None:
        """The manifest of an artifact and its bytes; None where there is none, or the artifact was found to be wrong.

        Raises:
            Damaged: what lies there is no manifest of this artifact.
            RemoteFault: it does not answer, or refuses.
        """
        key = _manifest_key(ref)
        content = None if key in self._unsound else self._files.read(key)
        if content is None:
            return None
        try:
            manifest = unsealed(Manifest, content)
            require_own(manifest, ref)
            _require_inside(manifest)
        except (ValueError, ArtifactError) as error:  # a ValidationError is a ValueError
            self._unsound.add(key)
            raise Damaged("its manifest there is cut, changed, or of something else") from error
        return manifest, content

    def fetch(self, entry: FileEntry, target: Path) -> None:
        """Copy a file of an artifact to this machine, and hash it.

        Raises:
            Damaged: it is not there, or not as its manifest says.
            RemoteFault: it does not answer, or refuses.
            OSError: the disk here is full.
        """
        key = _file_key(entry)
        for _ in range(_TRIES):
            if not self._files.fetch(key, target):
                self._unsound.add(key)
                raise Damaged(f"its file {entry.path} is missing there")
            if (target.stat().st_size, file_sha256(target)) == (entry.size_bytes, entry.sha256):
                return
        self._unsound.add(key)
        size, digest = target.stat().st_size, file_sha256(target)
        target.unlink()
        raise Damaged(
            f"its file {entry.path} came with sha256 {digest[:12]} of {size} bytes, expected {entry.sha256[:12]} of"
            f" {entry.size_bytes}"
        )

    def send(self, entry: FileEntry, source: Path) -> int:
        """Put a file of an artifact there, unless it is; returns the bytes that were sent.

        Raises:
            RemoteFault: it does not answer, or refuses.
        """
        key = _file_key(entry)
        if key not in self._unsound and self._files.size(key) == entry.size_bytes:
            return 0
        self._files.send(source, key)
        self._unsound.discard(key)
        return entry.size_bytes

    def publish(self, ref: ArtifactRef, content: bytes) -> bool:
        """Put an artifact's manifest there, after all its files; False where another was first.

        Raises:
            RemoteFault: it does not answer, or refuses.
        """
        key = _manifest_key(ref)
        if key in self._unsound:
            self._files.write(key, content)
            self._unsound.discard(key)
            return True
        return self._files.create(key, content)

    def signatures(self, ref: ArtifactRef) -> dict[str, bytes]:
        """The signatures of an artifact's manifest, by the names of their files.

        Raises:
            RemoteFault: it does not answer, or refuses.
        """
        folder = f"{SIGNATURES_FOLDER}/{ref.kind}/{ref.version}"
        names = [key.rpartition("/")[2] for key in self._files.keys(folder)]
        read = {name: self._files.read(f"{folder}/{name}") for name in names if _SIGNATURE.fullmatch(name)}
        return {name: content for name, content in read.items() if content is not None}

    def sign(self, ref: ArtifactRef, name: str, content: bytes) -> None:
        """Put a signature there, unless that key's is.

        Raises:
            RemoteFault: it does not answer, or refuses.
        """
        self._files.create(f"{SIGNATURES_FOLDER}/{ref.kind}/{ref.version}/{name}", content)

    def doubt(self, ref: ArtifactRef) -> None:
        """Have an artifact's manifest replaced when the artifact is made anew, since its files are not there."""
        self._unsound.add(_manifest_key(ref))

    def refs(self) -> list[ArtifactRef]:
        """All artifacts that are there, by kind and version.

        Raises:
            ArtifactError: it does not answer, or refuses.
        """
        try:
            return sorted(self._refs(), key=lambda ref: (ref.kind, ref.version))
        except RemoteFault as error:
            raise ArtifactError(f"remote {self.url}: {error}") from error

    def _refs(self) -> Iterator[ArtifactRef]:
        for kind in self._files.folders():
            if not kind.startswith("."):
                for key in self._files.keys(kind):
                    if _KEY.fullmatch(key):
                        yield ArtifactRef(kind=kind, version=key.split("/")[1])


def _manifest_key(ref: ArtifactRef) -> str:
    return f"{ref.kind}/{ref.version}/{MANIFEST}"


def _file_key(entry: FileEntry) -> str:
    return f"{_FILES}/{entry.sha256[:2]}/{entry.sha256}"


def _require_inside(manifest: Manifest) -> None:
    """Refuse files that would be written outside an artifact's folder, or over each other.

    Raises:
        ArtifactError: there is one.
    """
    paths = [entry.path for entry in manifest.files]
    for path in paths:
        parts = PurePosixPath(path).parts
        plain = bool(path) and len(path) <= _MOST_PATH and path == "/".join(parts) and "\0" not in path
        if not plain or ".." in parts or path.startswith("/") or path == MANIFEST:
            raise ArtifactError(f"a manifest lists the file {path[:80]!r}, which lies in no artifact")
    if len({*paths}) < len(paths):
        raise ArtifactError("a manifest lists a file twice")
