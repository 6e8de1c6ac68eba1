"""Artifacts that a run finds and that another environment made: other libraries, another machine, device or precision."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_specs.errors import ArtifactError
from data_specs.manifest import PART, ArtifactRef, Manifest
from data_specs.placement import SameEnvironment
from tasks.lineage.checking.faults import named_inputs
from tasks.lineage.contents import MANIFEST, label_of, read_manifest
from tasks.lineage.environment import Environment, environment_changes, environment_when_made
from tasks.lineage.listeners import Listener
from tasks.lineage.progress import notice

Changes = Mapping[str, tuple[str, str]]


class Comparison:
    """Compares artifacts with one environment."""

    def __init__(self, here: Environment) -> None:
        """Compare with `here`."""
        self._here, self._digest = here, here.digest

    def differing(self, manifest: Manifest, root: Path) -> Iterator[tuple[ArtifactRef, Changes]]:
        """An artifact and the parts that it is a set of, as far as the store at `root` has them, with what differs."""
        if changes := self._changes(manifest):
            yield manifest.ref, changes
        for _, made_of in named_inputs(manifest):
            # A set has thousands: those of this environment are not read.
            if not made_of.kind.endswith(PART) or made_of.environment == self._digest:
                continue
            folder = root / made_of.kind / made_of.version
            there = (folder / MANIFEST).is_file()
            if there and (changes := self._changes(read_manifest(folder, made_of.ref))):
                yield made_of.ref, changes

    def _changes(self, manifest: Manifest) -> Changes:
        made = manifest.circumstances
        return {} if made.environment == self._digest else environment_changes(environment_when_made(made), self._here)


class ReuseWatch(Listener):
    """Looks at what a run uses; `found` has what differs by artifact, parts of sets among them."""

    def __init__(self, here: Environment, policy: SameEnvironment) -> None:
        """Compare with the environment of this run; what differs is told once, refused, or ignored."""
        self._comparison, self._policy = Comparison(here), policy
        self.found: dict[ArtifactRef, Changes] = {}
        self._told: set[str] = set()

    def used(self, manifest: Manifest, folder: Path) -> None:
        """See `Listener`.

        Raises:
            ArtifactError: something differs, and is to be refused.
        """
        if self._policy == "ignore":
            return
        for ref, changes in self._comparison.differing(manifest, folder.parent.parent):
            self.found[ref] = changes
            said = changes_in_words(changes)
            if self._policy == "refuse":
                raise ArtifactError(
                    f"{label_of(ref)} was made in another environment: {said}; use another --store, remove its folder,"
                    " or give --same-environment warn"
                )
            if said not in self._told:
                self._told.add(said)
                notice(f"reused, though made in another environment: {label_of(ref)}, {said}")


def record_of_reuse(watches: Iterable[ReuseWatch]) -> dict[str, object]:
    """What a run's record says of it; empty where nothing differs."""
    found = {ref: changes for watch in watches for ref, changes in watch.found.items()}
    n_artifacts = Counter(changes_in_words(changes) for changes in found.values())
    return {"artifacts": sorted(ref.version for ref in found), "differences": dict(n_artifacts)} if found else {}


def changes_in_words(changes: Changes) -> str:
    """What differs, such as `torch 2.6 then, 2.7 now`."""
    return ", ".join(f"{name} {then} then, {now} now" for name, (then, now) in changes.items())
