"""A pass over shards as Prefect tasks, one a shard, into one artifact."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from data_specs.errors import PipelineError
from data_specs.manifest import ArtifactRef, Recipe, Source
from data_specs.run_config import Encoder, RunConfig
from tasks.encoders.loading import LoadedModel
from tasks.extraction.shard_pass import Observer, ShardPass
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import source_digest
from tasks.lineage.disk import is_full
from tasks.lineage.progress import notice, stage
from tasks.lineage.store import Build, Made, Store
from tasks.shards.plan import ShardPlan, Tally, planned_samples


def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again could help: not where the data or the settings are wrong, or the disk is full."""
    error = state.data if isinstance(state.data, BaseException) else getattr(state.data, "result", None)
    return not (isinstance(error, PipelineError | MemoryError) or (error is not None and is_full(error)))


# NO_CACHE: the store is the one cache. Prefect's TASK_SOURCE hashes this wrapper only,
# so a fix deeper down would be answered with old results.
@task(
    name="read-shard",
    task_run_name="{label}-{index}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=worth_retrying,
)
def read_shard(shard_pass: ShardPass, index: int, label: str) -> dict[str, Any]:
    """Run the encoder over one shard; returns counts."""
    return shard_pass.run_shard(index)


def pass_recipe(
    kind: str,
    package: str,
    loaded: LoadedModel,
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    config: RunConfig,
    settings: dict[str, Any],
) -> Recipe:
    """The recipe of a pass: the encoder, the shards in order, how many samples of each, the precision."""
    architecture = loaded.architecture
    return Recipe(
        kind=kind,
        settings={
            "architecture": {"model_cfg": architecture.model_cfg, "preprocess_cfg": architecture.preprocess_cfg},
            "tokenizer": architecture.tokenizer_name,
            "precision": config.precision,
            "batch_size": config.batch_size,
            "samples": [len(plan.keys) for plan in plans],
            "contents": [plan.shard.content for plan in plans],
            **settings,
        },
        inputs={"encoder": loaded.encoder_digest(encoder), "shards": [plan.shard.sha256 for plan in plans]},
        code=source_digest(package),
    )


def materialise_pass(
    store: Store,
    recipe: Recipe,
    loaded: LoadedModel,
    encoder: Encoder,
    plans: Sequence[ShardPlan],
    observer: Observer,
    *,
    label: str,
    config: RunConfig,
    context: RunContext,
) -> Made:
    """Make or find the artifact of a pass.

    Raises:
        DataError: too many samples are bad, now or when the artifact was made.
    """

    def write(build: Build) -> None:
        shard_pass = ShardPass(
            build,
            loaded,
            encoder,
            plans,
            observer,
            stage=label,
            precision=config.precision,
            batch_size=config.batch_size,
            max_bad_fraction=config.max_bad_fraction,
            context=context,
        )
        hooks = observer if isinstance(observer, AbstractContextManager) else nullcontext()
        with hooks, stage(label, shard_pass.tally.n_planned, "samples"):
            for index in range(len(plans)):
                read_shard(shard_pass, index, label)
        build.counts.update(shard_pass.tally.counts())
        build.sources.extend(
            Source(location=plan.shard.location, sha256=plan.shard.sha256, size_bytes=plan.shard.size_bytes)
            for plan in plans
        )

    made = store.materialise(recipe, write, context)
    _report_skipped(store, made.ref, label, planned_samples(plans), config.max_bad_fraction)
    return made


def _report_skipped(store: Store, ref: ArtifactRef, label: str, n_planned: int, max_bad_fraction: float) -> None:
    skipped = store.manifest(ref).counts["skipped"]
    if skipped:
        tally = Tally(n_planned, 1.0, skipped=skipped)
        notice(f"{label}: skipped {len(skipped)} of {n_planned} samples: {tally.reasons()}")
        Tally(n_planned, max_bad_fraction, skipped=skipped).add(0, "", [])
