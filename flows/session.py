"""What the flows of one run share: the store, the models and shards that are open, the account of what was made."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from data_specs.config_file import require_absolute
from data_specs.evaluation_files import read_metrics
from data_specs.manifest import ArtifactRef
from data_specs.placement import Device, SameEnvironment, placement_of
from data_specs.run_config import WITHOUT_SAFE_SCORERS, Content, RunConfig
from data_specs.run_result import ArtifactPlace, RunResult
from data_specs.store_place import StoreLocation, store_place_of
from flows.lineage_context import model_in_use, settings_told
from flows.prefect_page import shown_in_prefect
from flows.record import recorded
from flows.remotes.sharing import remotes_of, shared
from flows.runners import Placed, placed
from flows.shared_model import load_shared
from flows.shown_result import ShownResult
from tasks.encoders.loading import LoadedModel
from tasks.extraction.batch_size import usual_batch_size
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.checking.recorded import (
    MANIFESTS,
    Recorded,
    digests_to_record,
    recorded_manifests,
    require_as_recorded,
)
from tasks.lineage.checking.reuse import ReuseWatch, record_of_reuse
from tasks.lineage.circumstances import RunContext
from tasks.lineage.cores import usual_workers
from tasks.lineage.dropping.dropped import Dropped
from tasks.lineage.environment import environment_here
from tasks.lineage.listeners import Listeners
from tasks.lineage.progress import stage
from tasks.lineage.store import Made, Store
from tasks.manipulation.edit_file import EDIT_FILE
from tasks.manipulation.in_place import edited_in_place
from tasks.manipulation.stored_edit import stored_edit
from tasks.shards.existing_files import stands_for_files
from tasks.shards.inspection import Shard, open_shards
from tasks.shards.location import expand_locations, is_listed
from tasks.shards.run_copies import RunCopies
from tasks.shards.sides import unsafe_side_alone

# Of the newest runs: what is older is compared by `uwm lineage verify --all`.
_RECORDS_READ = 100


class Session:
    """One run in one process."""

    def __init__(self, config: RunConfig, store: Store, place: Placed, workers: int | None) -> None:
        """Work in `store`; `workers` None means as many as each process keeps busy."""
        self.config, self.store = config.with_batch_size(usual_batch_size(place.device)), store
        self._context = RunContext(
            device=place.device,
            workers=usual_workers(place.device, place.n_processes) if workers is None else workers,
            precision=config.precision,
            seed=config.seed,
            runner=place.runner,
            started_by=place.started_by,
            settings=settings_told(config, self.config),
        )
        self.run: str | None = None  # identifier of its record
        self._loaded: dict[str, LoadedModel] = {}
        self._digests: dict[ArtifactRef, dict[str, str]] = {}  # of edited models
        self._models: dict[ArtifactRef | None, ModelInUse] = {}  # by their edit
        self._shards: dict[tuple[tuple[str, ...], Content | None], list[Shard]] = {}
        self.expanded: dict[str, list[str]] = {}
        self._copies = RunCopies(store, config.fetching)
        self._made: dict[str, Made] = {}
        self._computed: set[ArtifactRef] = set()
        self.metrics: dict[str, dict[str, float]] = {}
        self.told: dict[str, Any] = {}  # what its record says beside the account
        self._seconds: dict[str, float] = {}

    @property
    def context(self) -> RunContext:
        """How this run is carried out, inside the flow that asks."""
        models = tuple(self._models.values())
        trusted = {record.sha256: record.etag or "" for record in self._copies.trusted.values()}
        return replace(self._context.within(flow_run.id), run=self.run, models=models, trusted=trusted)

    def original(self) -> LoadedModel:
        """The model of the settings, loaded once."""
        if "original" not in self._loaded:
            with self.timed("load"), stage("load model", None, "tensors"):
                loaded = load_shared(self.config.model)
            self._loaded["original"] = loaded
            self._models[None] = model_in_use(loaded, loaded)
        return self._loaded["original"]

    @contextmanager
    def edited_in_place(self, edit: ArtifactRef) -> Iterator[LoadedModel]:
        """The original model with an edit applied for as long as the block lasts."""
        path, known = self.store.path(edit) / EDIT_FILE, self._digests.get(edit)
        with edited_in_place(self.original(), stored_edit(self.store, edit), path, known) as loaded:
            self._digests[edit] = loaded.digests
            self._models[edit] = model_in_use(loaded, self.original(), edit)
            yield loaded

    def shards(self, patterns: Sequence[str], content: Content | None = None) -> list[Shard]:
        """Checked shards, opened once."""
        key = (tuple(patterns), content)
        if key not in self._shards:
            with self.timed("check shards"), stage("check shards", None, "shards"):
                locations = expand_locations(patterns, asks_stores=True)
                if any(stands_for_files(pattern) or is_listed(pattern) for pattern in patterns):
                    self.expanded[" ".join(patterns)] = locations
                self._shards[key] = open_shards(locations, content, self._copies)
        return self._shards[key]

    def calibration_shards(self) -> list[Shard]:
        """The calibration set: paired shards, or safe ones before unsafe ones; of pairs the unsafe side where that is all."""
        calibration = self.config.calibration
        if calibration.shards is not None:
            shards = self.shards(calibration.shards)
            ways = [self.config, *self.config.methods.values()]
            scorers = {encoder.scorer for way in ways for encoder in way.edited.values()}
            return unsafe_side_alone(shards) if scorers <= {*WITHOUT_SAFE_SCORERS} else shards
        return self.shards(calibration.safe or [], "safe") + self.shards(calibration.unsafe or [], "unsafe")

    @contextmanager
    def told_by(self, refs: Sequence[ArtifactRef]) -> Iterator[None]:
        """For as long as the block lasts, what is made says what the manifests of artifacts hold; all of them are there."""
        yield

    def keep(self, name: str, made: Made) -> ArtifactRef:
        """Put an artifact on the account under a name; returns its reference.

        Raises:
            ArtifactError: it was there, and the record of a run says that it was another.
        """
        if made.reused and self.store.makes:
            require_as_recorded(made.manifest, self._recorded.get(made.ref.version))
        self._made[name] = made
        if not made.reused:
            self._computed.add(made.ref)
        return made.ref

    def keep_measured(self, name: str, made: Made) -> ArtifactRef:
        """Put an evaluation on the account as `evaluation.NAME`, and its metrics."""
        kept = self.keep(f"evaluation.{name}", made)
        self.metrics[name] = read_metrics(self.store.path(made.ref))
        return kept

    def keep_captions_measured(self, name: str, made: Made) -> ArtifactRef:
        """Put an evaluation of captions on the account as `caption_evaluation.NAME`, and its metrics beside the model's others."""
        kept = self.keep(f"caption_evaluation.{name}", made)
        self.metrics[name] = {**self.metrics.get(name, {}), **read_metrics(self.store.path(made.ref))}
        return kept

    def keep_as(self, name: str, kept: str) -> ArtifactRef:
        """Put an artifact of the account under another name, too."""
        self._made[name] = self._made[kept]
        return self._made[name].ref

    @property
    def account(self) -> list[Made]:
        """All that was put on the account."""
        return [*self._made.values()]

    def has(self, name: str) -> bool:
        """Whether anything is kept under a name."""
        return name in self._made

    def kept(self, name: str) -> ArtifactRef:
        """The reference kept under a name."""
        return self._made[name].ref

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's wall time to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    @cached_property
    def _recorded(self) -> dict[str, Recorded]:
        return recorded_manifests(self.store.root, _RECORDS_READ)

    def manifests(self) -> dict[str, dict[str, str]]:
        """The digests of all on the account, by version."""
        return digests_to_record(made.manifest for made in self._made.values())

    def result(self) -> RunResult:
        """The account so far."""
        return ShownResult(
            name=self.config.name,
            store=str(self.store.root),
            artifacts={
                name: ArtifactPlace(version=made.ref.version, path=str(made.path)) for name, made in self._made.items()
            },
            metrics=self.metrics,
            computed=len(self._computed | self.store.published),
            reused=len({made.ref for made in self._made.values()} - self._computed),
            seconds={name: round(seconds, 3) for name, seconds in self._seconds.items()},
        )

    @property
    def trusted(self) -> list[dict[str, Any]]:
        """The shards that were taken for unchanged by their ETags, with what they were when they were fetched last."""
        records = self._copies.trusted.values()
        return [record.model_dump(mode="json", exclude={"format", "index"}) for record in records]

    def close(self) -> None:
        """Let go of copies of shards that were fetched, and of what was used."""
        self._copies.close()
        self.store.uses.close()


@contextmanager
def open_session(
    config: RunConfig, store: StoreLocation | Path, device: Device, workers: int | None
) -> Iterator[Session]:
    """A run from its first to its last step; it leaves a record in its store, whatever its end.

    Raises:
        SpecError: the settings name relative paths, or the store, a remote or device is none.
        ArtifactError: a remote does not answer, or refuses.
    """
    with open_sessions([config], store, device, workers) as (session,):
        yield session


def _watched(store: Store, device: str, config: RunConfig, policy: SameEnvironment) -> ReuseWatch:
    watch = ReuseWatch(environment_here(device, config.precision), policy)
    store.listeners = Listeners([*store.listeners.each, watch])
    return watch


@contextmanager
def open_sessions(
    configs: Sequence[RunConfig], store: StoreLocation | Path, device: Device, workers: int | None
) -> Iterator[list[Session]]:
    """One run of several settings, a session each; see `open_session`."""
    for config in configs:
        require_absolute(config)
    where, policy = store_place_of(store), placement_of(device).same_environment
    stores = [Store(where.folder, hash_once=True) for _ in configs]
    with shared(stores, remotes_of(where, configs)) as sharing, placed(device) as place, ExitStack() as stack:
        for own in stores:
            own.elsewhere = Dropped(own.root, own.elsewhere)
        sessions = [Session(config, own, place, workers) for config, own in zip(configs, stores, strict=True)]
        settings = [session.config.model_dump(mode="json") for session in sessions]
        record, page = stack.enter_context(recorded(stores[0], settings)), stack.enter_context(shown_in_prefect())
        for session in sessions:
            session.run = record.content["id"]
        watches = [_watched(own, place.device, config, policy) for own, config in zip(stores, configs, strict=True)]
        try:
            yield sessions
            sharing.settle(made.ref for session in sessions for made in session.account)
        finally:
            record.content |= sharing.told()
            record.results = [session.result() for session in sessions]
            expanded = {name: found for session in sessions for name, found in session.expanded.items()}
            if expanded:
                record.content["expanded"] = expanded
            if trusted := [each for session in sessions for each in session.trusted]:
                record.content["trusted"] = trusted
            record.content[MANIFESTS] = {version: of for one in sessions for version, of in one.manifests().items()}
            if found := record_of_reuse(watches):
                record.content["other_environments"] = found
            for session in sessions:
                record.content |= session.told
            for session in sessions:
                session.close()
        if page is not None:
            page.result(record.results, record.content["id"])
