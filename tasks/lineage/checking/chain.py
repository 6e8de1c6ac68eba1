"""What artifacts were made of, compared with what is there: a change anywhere below shows wherever it is used."""

import os
from collections.abc import Callable
from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, MadeOf, Manifest
from tasks.lineage.checking.faults import changed_inputs, input_fault, named_as_it_is
from tasks.lineage.contents import MANIFEST, REMEDY, label_of, read_manifest, read_pruned, require_own
from tasks.lineage.progress import notice
from tasks.lineage.sealed_json import sealed_digest


class Chain:
    """The digests of a store's manifests."""

    def __init__(self, place: Callable[[ArtifactRef], Path], *, once: bool) -> None:
        """Look in the folder that `place` gives; `once` takes a digest for good, as within one run."""
        self._place, self._once = place, once
        self._digests: dict[ArtifactRef, str] = {}
        self._told: set[ArtifactRef] = set()

    def require_inputs(self, manifest: Manifest) -> None:
        """Make sure that what an artifact was made of is as it was, as far as it is there; made again, it may be.

        Raises:
            ArtifactError: an input is of other content.
        """
        for changed in changed_inputs(manifest, self._digest_of, self._read):
            if not changed.same_content:
                raise ArtifactError(input_fault(manifest.ref, changed).text)
            if changed.made_of.ref not in self._told:
                self._told.add(changed.made_of.ref)
                notice(
                    f"{label_of(changed.made_of)} has another manifest than {label_of(manifest.ref)} was made of, and the"
                    " same files: it was made again since, or somebody rewrote it"
                )

    def require_dropped(self, ref: ArtifactRef, manifest: Manifest) -> None:
        """Make sure of an artifact whose files were dropped, as far as that goes without them.

        Raises:
            ArtifactError: its manifest is of another, the note that they were dropped is none of it, or an input changed.
        """
        require_own(manifest, ref)
        read_pruned(self._place(ref), manifest)
        self.require_inputs(manifest)

    def keep(self, manifest: Manifest) -> None:
        """Remember the digest of a manifest that is sound."""
        if self._once and manifest.digest is not None:
            self._digests[manifest.ref] = manifest.digest

    def as_it_is(self, ref: ArtifactRef) -> MadeOf:
        """An artifact with the digests that it has now, none where it is not there.

        Raises:
            ArtifactError: its manifest cannot be read.
        """
        if not self._has(ref):
            return MadeOf(kind=ref.kind, version=ref.version, manifest=None, content=None)
        return named_as_it_is(self._read(ref))

    def _has(self, ref: ArtifactRef) -> bool:
        return os.path.lexists(self._place(ref) / MANIFEST)

    def _read(self, ref: ArtifactRef) -> Manifest:
        return read_manifest(self._place(ref), ref)

    def _digest_of(self, ref: ArtifactRef) -> str | None:
        known = self._digests.get(ref)
        if known is not None:
            return known
        try:
            # A link would do no harm: what it leads to is of the digest or is not.
            found = sealed_digest((self._place(ref) / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            text = f"{label_of(ref)} has no readable {error.filename}: {error.strerror or error}; {REMEDY}"
            raise ArtifactError(text) from error
        if self._once:
            self._digests[ref] = found
        return found
