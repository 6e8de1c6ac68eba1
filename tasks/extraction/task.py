"""A pass over shards as one Prefect task."""

from collections.abc import Callable
from typing import TypeVar

from tasks.lineage.task import task

_Result = TypeVar("_Result")


@task(
    name="read-shards",
    task_run_name="{label}",
    tried_again=True,
)
def read_shards(make: Callable[[], _Result], label: str) -> _Result:
    """Make or find what comes of shards; tried again, it goes on at the shard where it was."""
    return make()
