"""A pass over shards as one Prefect task."""

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from data_specs.errors import PipelineError
from tasks.lineage.disk import is_full
from tasks.lineage.store import Made


def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again could help: not where the data or the settings are wrong, or the disk is full."""
    error = state.data if isinstance(state.data, BaseException) else getattr(state.data, "result", None)
    return not (isinstance(error, PipelineError | MemoryError) or (error is not None and is_full(error)))


# NO_CACHE: the store is the one cache. Prefect's TASK_SOURCE hashes this wrapper only,
# so a fix deeper down would be answered with old results.
@task(
    name="read-shards",
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=worth_retrying,
)
def read_shards(make: Callable[[], Made], label: str) -> Made:
    """Make or find what comes of shards; tried again, it goes on at the shard where it was."""
    return make()
