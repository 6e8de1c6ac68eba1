"""Artifacts whose files were dropped, for one run: they are as good as there until their files are asked for."""

from collections.abc import Iterable
from pathlib import Path

from data_specs.manifest import PART, ArtifactRef, Manifest
from tasks.lineage.contents import is_pruned, label_of, read_manifest, read_pruned
from tasks.lineage.remotes.elsewhere import KnownElsewhere, Withdrawn
from tasks.lineage.trace import artifacts_in


class Dropped(KnownElsewhere):
    """Looks where another does, and counts on what was dropped here.

    A step whose result is there needs no files of what it was made of. Where files are asked for after all, whoever asked
    begins again, and then they are not counted on any more: they are made.
    """

    def __init__(self, root: Path, elsewhere: KnownElsewhere) -> None:
        """Of the store at `root`; what `elsewhere` has comes before what would have to be made."""
        super().__init__(root)
        self._elsewhere = elsewhere
        self._wanted: set[ArtifactRef] = set()
        self._wanted_kinds: set[str] = set()

    def holds(self, ref: ArtifactRef) -> bool:
        """See `KnownElsewhere`; what was dropped, too, until its files were asked for."""
        return self._elsewhere.holds(ref) or self._counts_on(ref)

    def bring(self, ref: ArtifactRef) -> None:
        """See `KnownElsewhere`.

        Raises:
            Withdrawn: they were dropped.
        """
        if self._elsewhere.holds(ref) or not self._counts_on(ref):
            self._elsewhere.bring(ref)
            return
        self.want(ref)
        when = read_pruned(self._place(ref), read_manifest(self._place(ref), ref)).when
        raise Withdrawn(f"{label_of(ref)} is needed, and its files were dropped on {when[:10]}")

    def want(self, ref: ArtifactRef) -> None:
        """Count on an artifact's files no more, nor on those of its parts; who needs one part needs others of its kind."""
        self._wanted.add(ref)
        if ref.kind.endswith(PART):
            self._wanted_kinds.add(ref.kind)
        elif is_pruned(self._place(ref)):
            inputs = artifacts_in(read_manifest(self._place(ref), ref).recipe.inputs).values()
            self._wanted.update(each for each in inputs if each.kind == ref.kind + PART)

    def ask(self, refs: Iterable[ArtifactRef]) -> None:
        """See `KnownElsewhere`."""
        self._elsewhere.ask(refs)

    def know(self, refs: Iterable[ArtifactRef]) -> set[ArtifactRef]:
        """See `KnownElsewhere`."""
        return self._elsewhere.know(refs)

    def manifest(self, ref: ArtifactRef) -> Manifest | None:
        """See `KnownElsewhere`."""
        return self._elsewhere.manifest(ref)

    def known(self, beginning: str = "") -> list[ArtifactRef]:
        """See `KnownElsewhere`."""
        return self._elsewhere.known(beginning)

    def bring_all(self, refs: Iterable[ArtifactRef]) -> None:
        """See `KnownElsewhere`."""
        self._elsewhere.bring_all(refs)

    def _counts_on(self, ref: ArtifactRef) -> bool:
        return ref not in self._wanted and ref.kind not in self._wanted_kinds and is_pruned(self._place(ref))

    def _place(self, ref: ArtifactRef) -> Path:
        return self.root / ref.kind / ref.version
