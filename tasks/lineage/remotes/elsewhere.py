"""Artifacts of a store that are not in its folder: their manifests are known, their files lie elsewhere."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef, Manifest
from tasks.lineage.contents import MANIFEST, label_of, read_manifest, require_own
from tasks.lineage.listing import survey

ELSEWHERE = ".elsewhere"


class Withdrawn(ArtifactError):
    """The files of an artifact were counted on, and cannot be had; whoever asked begins again, and it is made."""


class KnownElsewhere:
    """What a store without remotes knows: manifests of artifacts that its runs found in one, `STORE/.elsewhere`."""

    def __init__(self, root: Path) -> None:
        """Of the store at `root`."""
        self.root = root

    def holds(self, ref: ArtifactRef) -> bool:
        """Whether an artifact counts as there, since its files come when they are asked for."""
        del ref
        return False

    def ask(self, refs: Iterable[ArtifactRef]) -> None:
        """Find out of many artifacts at once whether they are elsewhere."""
        del refs

    def know(self, refs: Iterable[ArtifactRef]) -> set[ArtifactRef]:
        """Have the manifests here of artifacts and of all that they were made of, where they can be had; returns all these."""
        return {*refs}

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """The manifest of an artifact that is, or was, elsewhere; None where none is known.

        Raises:
            ArtifactError: the one that is kept was changed.
        """
        folder = self.folder(ref)
        if not (folder / MANIFEST).is_file():
            return None
        manifest = read_manifest(folder, ref)
        require_own(manifest, ref)
        return manifest

    def known(self, beginning: str = "") -> list[ArtifactRef]:
        """Artifacts whose manifests are known, and whose versions begin so."""
        return [item.ref for item in survey(self.root / ELSEWHERE, beginning).found]

    def bring(self, ref: ArtifactRef) -> None:
        """Have the files of an artifact here, where they can be had.

        Raises:
            Withdrawn: they were counted on, and cannot.
            ArtifactError: they are in a remote, and none was named.
        """
        if self.manifest(ref) is not None:
            raise ArtifactError(
                f"{label_of(ref)} is not in {self.root}, only its manifest is, as a remote had it; name the remote"
                " (--remote), or bring it with `uwm store pull`"
            )

    def bring_all(self, refs: Iterable[ArtifactRef]) -> None:
        """Have the files of those artifacts here that are elsewhere; what does not come is made."""
        del refs

    def keep_known(self, ref: ArtifactRef, content: bytes) -> None:
        """Keep the manifest of an artifact whose files are not here."""
        folder = self.folder(ref)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{secrets.token_hex(8)}.tmp"
        draft.write_bytes(content)
        os.replace(draft, folder / MANIFEST)

    def folder(self, ref: ArtifactRef) -> Path:
        """Where the manifest of an artifact is kept whose files are not here."""
        return self.root / ELSEWHERE / ref.kind / ref.version
