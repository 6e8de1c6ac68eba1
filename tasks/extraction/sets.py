"""A set over shards: a part a shard, and an artifact that names them in order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, Self

from data_specs.manifest import PART, Inputs, Recipe
from data_specs.run_config import Encoder, RunConfig
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import MakesParts, ObserverOf, Part, RowPartMaker
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.extraction.sharing import PartedSet, SharedParts, without_samples
from tasks.lineage.circumstances import RunContext, now
from tasks.lineage.code import coded
from tasks.lineage.digest import recipe_ref
from tasks.lineage.progress import notice, stage
from tasks.lineage.store import Build, Made, Store
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples
from tasks.workers.shared_work import Given, runner_of


@dataclass(frozen=True)
class Extraction:
    """What is taken from shards."""

    kind: str  # of the set; its parts are of kind `KIND.part`
    encoder: Encoder
    observer: ObserverOf
    settings: Mapping[str, Any]  # what decides a part's rows beside model, samples and the run's settings
    code: Mapping[str, Any]
    label: str  # of its progress


def extract_set(
    what: Extraction,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    config: RunConfig,
    store: Store,
    context: RunContext,
) -> Made:
    """Make or find a set, and the parts that it names.

    Args:
        what: is kept of each batch.
        plans: the samples of each shard.
        loaded: the model.
        config: the run's settings.
        store: takes both.
        context: how the run is carried out.

    Returns:
        The set, with all rows of its parts as files of its own (hard links where the file system has them).

    Raises:
        DataError: too many samples are bad, now or when a part was made.
    """
    parts = [part_of(what, plan, loaded, config) for plan in plans]
    rows = RowSet(what.kind, part_maker(what, plans, loaded, config), parts, plans)
    return make_set(rows, loaded, store, context)


class MadeSet(PartedSet[Given], Protocol[Given]):
    """Parts, and the artifact that is made of all of them."""

    def recipe(self) -> Recipe:
        """What decides its content."""

    def bring(self, store: Store) -> None:
        """Have here what a remote of the store has of it."""

    def fill(self, build: Build, read: Sequence[int], loaded: Given, store: Store, context: RunContext) -> None:
        """Make it, once all parts are there; `read` are the places of those that were not when this run asked for it.

        Raises:
            DataError: more samples of all parts are bad than is allowed.
        """


def make_set(parted: MadeSet[Given], loaded: Given, store: Store, context: RunContext) -> Made:
    """Make or find a set, and the parts that it is made of, alone or with others; see `extract_set`."""
    recipe, maker, began = parted.recipe(), parted.maker, now()
    read: list[int] = []
    if store.makes and not store.holds(recipe_ref(recipe)):
        parted.bring(store)
        read = parted.lacking(store)
        # Before the set is locked, so that other processes make parts meanwhile.
        with stage(maker.stage, maker.n_planned, "samples"):
            runner_of(context).make(SharedParts(parted), loaded, store, context)

    def write(build: Build) -> None:
        build.started = began
        parted.fill(build, read, loaded, store, context)

    made = store.materialise(recipe, write, context)
    if store.holds(made.ref):  # in a plan it may not be
        report_skipped(made, maker)
    return made


@dataclass(frozen=True)
class RowSet(Generic[Given]):
    """A set that names its parts, and has all their rows as files of its own."""

    kind: str
    maker: MakesParts[Given]
    parts: Sequence[Part]
    plans: Sequence[ShardPlan]
    inputs: Inputs = field(default_factory=dict)  # named by the set itself, beside its parts and shards

    def recipe(self) -> Recipe:
        """What all parts share stands in the set, too, where a reader looks for it."""
        shared = dict(self.parts[0].recipe.settings) if self.parts else {}
        for of_one in ("samples", "content"):
            shared.pop(of_one, None)
        return Recipe(
            kind=self.kind,
            settings={
                **shared,
                "samples": [len(plan.keys) for plan in self.plans],
                "contents": [plan.shard.content for plan in self.plans],
            },
            inputs={
                "parts": [part.ref for part in self.parts],
                "shards": [plan.shard.sha256 for plan in self.plans],
                **self.inputs,
            },
            **coded(gather_parts),
        )

    def bring(self, store: Store) -> None:
        """Have here the parts that a remote has."""
        store.elsewhere.bring_all(part.ref for part in self.parts)

    def lacking(self, store: Store) -> list[int]:
        """The places of the parts that are not there."""
        there = store.held(part.ref for part in self.parts)
        return [index for index, part in enumerate(self.parts) if part.ref not in there]

    def is_there(self, index: int, store: Store) -> bool:
        """Whether a part is there."""
        return store.holds(self.parts[index].ref)

    def settling(self, loaded: Given, store: Store, context: RunContext) -> Callable[[int], None]:
        """Nothing: the parts stay."""
        del loaded, store, context
        return lambda _: None

    def sendable(self) -> Self:
        """The same, without what only planning needs to know of shards."""
        return replace(self, plans=without_samples(self.plans))

    def fill(self, build: Build, read: Sequence[int], loaded: Given, store: Store, context: RunContext) -> None:
        """Take the files of all parts.

        Raises:
            DataError: more samples of all parts are bad than is allowed.
        """
        del read, loaded, context
        made = (Made(part.ref, store.path(part.ref), True, store.ensure(part.ref)) for part in self.parts)
        gather_parts(build, made, self.plans, self.maker.max_bad_fraction)


def part_maker(what: Extraction, plans: Sequence[ShardPlan], loaded: LoadedModel, config: RunConfig) -> RowPartMaker:
    """How the parts of a set are made, of whatever model of this architecture."""
    return RowPartMaker(
        model=loaded.files,
        encoder=what.encoder,
        batch_size=config.inputs_at_once,
        max_bad_fraction=config.max_bad_fraction,
        n_planned=planned_samples(plans),
        stage=what.label,
        decoder=config.decoder,
        observer=what.observer,
        precision=config.precision,
    )


def part_of(what: Extraction, plan: ShardPlan, loaded: LoadedModel, config: RunConfig) -> Part:
    """What is read of one shard, and the recipe of what comes of it."""
    shard = plan.shard
    recipe = Recipe(
        kind=what.kind + PART,
        settings={
            **loaded.architecture.of(what.encoder),
            **config.reading(what.encoder),
            "samples": len(plan.keys),
            "content": shard.content,
            **what.settings,
        },
        inputs={"encoder": loaded.encoder_digest(what.encoder), "shard": shard.sha256},
        **what.code,
    )
    return Part(recipe, shard.location, shard.path, shard.sha256, shard.content, plan.room, plan.needs)


def gather_parts(build: Build, parts: Iterable[Made], plans: Sequence[ShardPlan], max_bad_fraction: float) -> None:
    """Fill a set with the files of its parts, named after their place in it.

    Raises:
        DataError: more samples of all parts are bad than is allowed.
    """
    tally = Tally(planned_samples(plans), max_bad_fraction)
    for index, (plan, part) in enumerate(zip(plans, parts, strict=True)):
        manifest = part.manifest
        name = f"{index:06d}-{plan.shard.sha256[:SHARD_DIGEST_CHARS]}.parquet"
        for entry in manifest.files:
            inside = f"{Path(entry.path).parent.as_posix()}/{name}"
            build.take(part.path, entry, inside)
        tally.add(
            manifest.counts["samples_used"],
            plan.shard.location,
            [BadSample(**item) for item in manifest.counts["bad"]],
        )
        build.sources.extend(source.model_copy(update={"location": plan.shard.location}) for source in manifest.sources)
    build.counts.update(tally.counts())


def report_skipped(made: Made, maker: MakesParts[Any]) -> None:
    """Tell how many samples a set was made without.

    Raises:
        DataError: more are bad than is allowed now.
    """
    skipped = made.manifest.counts["skipped"]
    if skipped:
        tally = Tally(maker.n_planned, 1.0, skipped=skipped)
        notice(f"{maker.stage}: skipped {len(skipped)} of {maker.n_planned} samples: {tally.reasons()}")
        Tally(maker.n_planned, maker.max_bad_fraction, skipped=skipped).add(0, "", [])
