"""A store that makes nothing: what is asked of it and is not there is put on a list."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_specs.manifest import ArtifactRef, Manifest, Recipe
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.store import Build, Made, Store


@dataclass(frozen=True)
class Planned:
    """An artifact that a run would use or make.

    `certain` is False where something that is not made yet decides its version; `missing` are the
    places, among its `n_parts` parts, of those that are not there; `n_parts` is None where it has none. `n_left` counts
    what somebody must be asked about for it, where that is known.
    """

    recipe: Recipe
    there: bool
    certain: bool
    missing: list[int] = field(default_factory=list)
    n_parts: int | None = None
    n_left: int | None = None


class PlannedStore(Store):
    """Takes the steps of a run for what they would ask for; since a version is its recipe's digest, nothing need be made."""

    makes = False

    def __init__(self, root: Path | str) -> None:
        """Look into the store in `root`, which need not be there."""
        super().__init__(root)
        self.planned: dict[ArtifactRef, Planned] = {}
        self._open: set[ArtifactRef] = set()
        self._taken: set[ArtifactRef] = set()
        self._guessing = False
        self._borrowed: Store | None = None

    def borrow(self, borrowed: Store) -> None:
        """Take the files of artifacts that are elsewhere from another store, which brings them there."""
        self._borrowed, self.elsewhere = borrowed, borrowed.elsewhere

    def path(self, ref: ArtifactRef) -> Path:
        """The folder of an artifact, for its files; nothing is brought into this store."""
        if self._borrowed is None or self.is_here(ref) or not self.elsewhere.holds(ref):
            return self.folder(ref)
        return self._borrowed.path(ref)

    def materialise(self, recipe: Recipe, write: Callable[[Build], None], context: RunContext) -> Made:
        """The artifact of a recipe, whether it is there or not; `write` is never called."""
        ref = recipe_ref(recipe)
        there = self.holds(ref)
        if ref not in self.planned:
            used = [item for given in recipe.inputs.values() for item in _listed(given)]
            certain = not (self._guessing or any(item in self._open for item in used))
            parts = _listed(recipe.inputs["parts"]) if "parts" in recipe.inputs else []
            self.elsewhere.ask(part for part in parts if isinstance(part, ArtifactRef))
            missing = [place for place, part in enumerate(parts) if not there and not self._has(part)]
            self.planned[ref] = Planned(recipe, there, certain, missing, len(parts) if parts else None)
            if not certain:
                self._open.add(ref)
        nothing = Manifest.model_construct(version=ref.version, recipe=recipe, files=[], sources=[], counts={})
        return Made(ref, self.folder(ref), there, self.manifest(ref) if there else nothing)

    @contextmanager
    def guessing(self) -> Iterator[None]:
        """For as long as the block lasts, what is asked for the first time follows from something that is not made yet."""
        self._guessing = True
        try:
            yield
        finally:
            self._guessing = False

    def forget(self) -> None:
        """Begin with an empty list again."""
        self.planned.clear()
        self._open.clear()

    def note_parts(self, ref: ArtifactRef, missing: list[int], n_parts: int) -> None:
        """Say what is missing of an artifact whose recipe does not name its parts."""
        self.planned[ref] = replace(self.planned[ref], missing=missing, n_parts=n_parts)

    def note_left(self, ref: ArtifactRef, n_left: int | None) -> None:
        """Say about how much somebody must be asked for an artifact."""
        self.planned[ref] = replace(self.planned[ref], n_left=n_left)

    def note_taken(self, refs: Iterable[ArtifactRef]) -> None:
        """Say of parts that a run takes them from others of the store, so that nothing need be made for them."""
        self._taken.update(refs)

    def _has(self, part: ArtifactRef | str) -> bool:
        return isinstance(part, ArtifactRef) and (part in self._taken or self.holds(part))


def _listed(given: ArtifactRef | str | list[ArtifactRef] | list[str]) -> list[ArtifactRef | str]:
    return [*given] if isinstance(given, list) else [given]
