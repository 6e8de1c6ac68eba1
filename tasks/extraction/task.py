"""A pass over shards as one Prefect task: a part a shard, and a set that names them in order."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_specs.manifest import PART, ArtifactRef, Recipe
from data_specs.run_config import Encoder, RunConfig
from tasks.encoders.loading import LoadedModel
from tasks.extraction.parts import ObserverOf, Part, PartMaker
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.lineage.circumstances import RunContext
from tasks.lineage.code import coded
from tasks.lineage.progress import notice, stage
from tasks.lineage.store import Build, Made, Store
from tasks.lineage.task import task
from tasks.shards.plan import BadSample, ShardPlan, Tally, planned_samples


def extract_set(
    kind: str,
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    loaded: LoadedModel,
    observer: ObserverOf,
    config: RunConfig,
    store: Store,
    context: RunContext,
    *,
    settings: Mapping[str, Any],
    code: Mapping[str, Any],
    label: str,
) -> Made:
    """Make or find the artifact of a pass: a part a shard, and a set of them in order.

    Args:
        kind: of the set; its parts are of kind `KIND.part`.
        encoder: which runs.
        plans: the samples of each shard.
        loaded: the model.
        observer: what is kept of each batch.
        config: the run's settings.
        store: takes both.
        context: how the run is carried out.
        settings: what else decides a part's rows.
        code: of what makes them.
        label: under which progress is reported.

    Returns:
        The set, with all rows of its parts as files of its own (hard links where the file system has them).

    Raises:
        DataError: too many samples are bad, now or when a part was made.
    """
    parts = [_part(kind, encoder, plan, loaded, config, {**settings}, {**code}) for plan in plans]
    n_planned = planned_samples(plans)
    maker = PartMaker(
        loaded.files, encoder, observer, config.precision, config.batch_size, config.max_bad_fraction, n_planned, label
    )
    recipe = _set_recipe(kind, plans, parts)

    def write(build: Build) -> None:
        with stage(label, n_planned, "samples"):
            gather_parts(build, maker.make(parts, plans, loaded, store, context), store, plans, config.max_bad_fraction)

    made = make_set(store, recipe, write, context, label)
    if store.holds(made.ref):  # in a plan it may not be
        _report_skipped(store, made.ref, label, n_planned, config.max_bad_fraction)
    return made


def _set_recipe(kind: str, plans: Sequence[ShardPlan], parts: Sequence[Part]) -> Recipe:
    # What all parts share stands in the set, too, where a reader looks for it.
    shared = dict(parts[0].recipe.settings) if parts else {}
    for of_one in ("samples", "content"):
        shared.pop(of_one, None)
    return Recipe(
        kind=kind,
        settings={
            **shared,
            "samples": [len(plan.keys) for plan in plans],
            "contents": [plan.shard.content for plan in plans],
        },
        inputs={"parts": [part.ref for part in parts], "shards": [plan.shard.sha256 for plan in plans]},
        **coded(gather_parts),
    )


@task(
    name="read-shards",
    task_run_name="{label}",
    tried_again=True,
)
def make_set(store: Store, recipe: Recipe, write: Any, context: RunContext, label: str) -> Made:
    """Make or find a set; tried again, it goes on at the part where it was."""
    return store.materialise(recipe, write, context)


def _part(
    kind: str,
    encoder: Encoder,
    plan: ShardPlan,
    loaded: LoadedModel,
    config: RunConfig,
    settings: dict[str, Any],
    code: dict[str, Any],
) -> Part:
    shard = plan.shard
    recipe = Recipe(
        kind=kind + PART,
        settings={
            **loaded.architecture.of(encoder),
            "precision": config.precision,
            "batch_size": config.batch_size,
            "samples": len(plan.keys),
            "content": shard.content,
            **settings,
        },
        inputs={"encoder": loaded.encoder_digest(encoder), "shard": shard.sha256},
        **code,
    )
    return Part(recipe, shard.location, shard.path, shard.sha256, shard.content, plan.room, plan.needs)


def gather_parts(
    build: Build, parts: Iterable[Made], store: Store, plans: Sequence[ShardPlan], max_bad_fraction: float
) -> None:
    """Fill a set with the files of its parts, named after their place in it.

    Raises:
        DataError: more samples of all parts are bad than is allowed.
    """
    tally = Tally(planned_samples(plans), max_bad_fraction)
    for index, (plan, part) in enumerate(zip(plans, parts, strict=True)):
        manifest = store.manifest(part.ref)
        name = f"{index:06d}-{plan.shard.sha256[:SHARD_DIGEST_CHARS]}.parquet"
        for entry in manifest.files:
            inside = f"{Path(entry.path).parent.as_posix()}/{name}"
            _link(part.path / entry.path, build.folder / inside)
            build.known[inside] = entry.model_copy(update={"path": inside})
        tally.add(
            manifest.counts["samples_used"],
            plan.shard.location,
            [BadSample(**item) for item in manifest.counts["bad"]],
        )
        build.sources.extend(source.model_copy(update={"location": plan.shard.location}) for source in manifest.sources)
    build.counts.update(tally.counts())


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _report_skipped(store: Store, ref: ArtifactRef, label: str, n_planned: int, max_bad_fraction: float) -> None:
    skipped = store.manifest(ref).counts["skipped"]
    if skipped:
        tally = Tally(n_planned, 1.0, skipped=skipped)
        notice(f"{label}: skipped {len(skipped)} of {n_planned} samples: {tally.reasons()}")
        Tally(n_planned, max_bad_fraction, skipped=skipped).add(0, "", [])
