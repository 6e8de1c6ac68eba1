"""An artifact made again in an empty store, from its manifest and what lies outside, and compared byte by byte."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_specs.errors import ArtifactError, DataError
from data_specs.manifest import ArtifactRef, Manifest, Recipe
from data_specs.placement import Device
from data_specs.wording import shown_path
from flows.reproducing.repeating import request_of
from flows.reproducing.replay import replay
from tasks.demo.task import SEED, draw_data, train_model
from tasks.lineage.circumstances import RunContext
from tasks.lineage.contents import label_of
from tasks.lineage.digest import file_sha256, recipe_ref
from tasks.lineage.environment import environment_changes, environment_here, environment_when_made
from tasks.lineage.listeners import Listener, Listeners
from tasks.lineage.progress import counted
from tasks.lineage.store import Store
from tasks.lineage.trace import artifacts_in, manifests_behind
from tasks.reporting.html import without_box
from tasks.reporting.task import REPORT_FILE
from tasks.shards.location import is_elsewhere
from tasks.workers.devices import resolve_devices

_REPORT = "report"
# What the demo draws before its run begins.
_DRAWN = {"demo_data": draw_data, "demo_model": train_model}


@dataclass(frozen=True)
class OtherFile:
    """A file that came out otherwise; None for one that is not among the artifact's files."""

    path: str
    expected: str | None
    found: str | None


@dataclass
class Reproduction:
    """What came of making an artifact again."""

    ref: ArtifactRef
    compared: dict[ArtifactRef, list[OtherFile]] = field(default_factory=dict)  # in the order of making
    environment: dict[str, tuple[str, str]] = field(default_factory=dict)  # what differs: then and now
    instead: str = ""  # where the steps led to another artifact: which, and in what it differs

    @property
    def is_equal(self) -> bool:
        """Whether the artifact came out with the same bytes."""
        return self.compared.get(self.ref) == []

    @property
    def first_difference(self) -> tuple[ArtifactRef, list[OtherFile]] | None:
        """The first artifact of the chain that came out otherwise."""
        return next(((ref, files) for ref, files in self.compared.items() if files), None)


class _Enough(BaseException):
    """All that was wanted is made; no step of a run takes it for an error."""


class _Watch(Listener):
    """Compares what is made with what was made then, and ends the run once it has the artifact that is wanted."""

    def __init__(self, source: Store, expected: Mapping[ArtifactRef, Manifest], ref: ArtifactRef) -> None:
        self.found = Reproduction(ref)
        self.wanted = ref
        self._source, self._expected = source, expected
        self._strangers: list[Recipe] = []

    def started(self, recipe: Recipe, context: RunContext) -> None:
        if self.wanted in self.found.compared:
            raise _Enough
        ref = recipe_ref(recipe)
        if ref not in self._expected:
            self._require_same_code(recipe)

    def made(self, manifest: Manifest, folder: Path) -> None:
        then = self._expected.get(manifest.ref) or self._report_of_the_same(manifest)
        if then is None:
            self._strangers.append(manifest.recipe)
            return
        self.found.compared[then.ref] = [*self._other_files(then, manifest, folder)]

    def _require_same_code(self, recipe: Recipe) -> None:
        for ref, manifest in self._expected.items():
            then = manifest.recipe
            if then.code != recipe.code and _without_code(then) == _without_code(recipe):
                modules = _differing(manifest.modules, recipe.modules)
                raise ArtifactError(
                    f"{label_of(ref)} was made by other code: {', '.join(modules) or 'a module'} changed since; use the"
                    " version of this program that made it"
                )

    def explain(self) -> str:
        """Which artifact the steps did not come to, what they made instead, and in what the recipes differ."""
        for ref, manifest in [*self._expected.items()][::-1]:
            alike = [recipe for recipe in self._strangers if recipe.kind == ref.kind]
            if ref not in self.found.compared and alike:
                then = manifest.recipe.model_dump()
                found = [_told_differences(then, recipe.model_dump()) for recipe in alike]
                return f"{label_of(ref)} did not come of it, but another with other {min(found, key=len)}"
        return f"{label_of(self.found.ref)} did not come of the run that is said to have made it"

    def _report_of_the_same(self, manifest: Manifest) -> Manifest | None:
        if manifest.recipe.kind != _REPORT or self.found.ref.kind != _REPORT:
            return None
        then = self._expected[self.found.ref]
        return then if then.recipe.inputs == manifest.recipe.inputs else None

    def _other_files(self, then: Manifest, now: Manifest, folder: Path) -> Iterator[OtherFile]:
        before, after = ({entry.path: entry.sha256 for entry in item.files} for item in (then, now))
        for path in sorted({*before, *after}):
            if before.get(path) == after.get(path):
                continue
            if path == REPORT_FILE and self._is_same_report(then.ref, folder / path):
                continue
            yield OtherFile(path, before.get(path), after.get(path))

    def _is_same_report(self, ref: ArtifactRef, made: Path) -> bool:
        there = self._source.path(ref) / REPORT_FILE
        return there.is_file() and without_box(there.read_bytes()) == without_box(made.read_bytes())


def reproduce_artifact(
    source: Store,
    ref: ArtifactRef,
    into: Path,
    *,
    device: Device,
    workers: int | None = None,
    changes: Sequence[str] = (),
) -> Reproduction:
    """Make an artifact again, and all that it was made of.

    Args:
        source: holds its manifest, and the records of the runs that made it; of files only a report's is read.
        ref: which artifact.
        into: an empty folder for the new store.
        device: where to compute.
        workers: processes that decode samples.
        changes: settings to take in place of those of the run, such as where shards lie now.

    Returns:
        What came out, compared as far as it was made.

    Raises:
        DataError: a shard or a file of weights is missing or changed.
        ArtifactError: no record says how the artifact was made, or the code that made it has changed.
    """
    expected = _chain(source, ref)
    if not changes:
        _require_sources(expected.values())
    watch = _Watch(source, expected, ref)
    store = Store(into, hash_once=True)
    store.listeners = Listeners([*store.listeners.each, watch])

    def make(wanted: ArtifactRef) -> None:
        if wanted.kind in _DRAWN:
            _DRAWN[wanted.kind](store, RunContext(seed=SEED))
            return
        request = request_of(source, wanted, changes)
        for given in request.asked.artifacts:
            make(given)
        watch.wanted = wanted
        with suppress(_Enough):
            replay(request, store, device, workers)

    make(ref)
    if ref not in watch.found.compared:
        watch.found.instead = watch.explain()
    return watch.found


def _chain(source: Store, ref: ArtifactRef) -> dict[ArtifactRef, Manifest]:
    """The manifests behind an artifact, those of parts too as far as they are there."""
    found = manifests_behind(source, [ref])
    if ref not in found:
        found[ref] = source.manifest(ref)
    for manifest in [*found.values()]:
        for part in artifacts_in(manifest.recipe.inputs).values():
            with suppress(ArtifactError):
                found.setdefault(part, source.manifest(part))
    return found


def _require_sources(manifests: Iterable[Manifest]) -> None:
    """Refuse to begin where what lies outside the store is missing or another; what must be fetched is seen later."""
    recorded = {source.location: source for item in manifests for source in (*item.sources, *item.weights)}
    local = [source for location, source in recorded.items() if not is_elsewhere(location)]
    for source in counted("check sources", local, "files"):
        path = Path(source.location)
        hint = "give --set for the settings that name it, such as calibration.shards, where it lies elsewhere now"
        if not path.is_file():
            raise DataError(f"{shown_path(path)}, of which the artifact was made, is not there; {hint}")
        found = file_sha256(path)
        if found != source.sha256:
            raise DataError(
                f"{shown_path(path)} is not what the artifact was made of: sha256 {found[:12]}, expected"
                f" {source.sha256[:12]}; {hint}"
            )


def _told_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [f"{part}.{name}" for part in ("settings", "inputs") for name in _differing(then[part], now[part])]
    return ", ".join(names) or "code"


def _without_code(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"code": "", "modules": {}})


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]


def environment_of(source: Store, ref: ArtifactRef, device: str) -> dict[str, tuple[str, str]]:
    """In what this process differs from the one that made an artifact: by name, the value then and now."""
    then = source.manifest(ref).circumstances
    here = environment_here(resolve_devices(device)[0], then.precision)
    return environment_changes(environment_when_made(then), here)
