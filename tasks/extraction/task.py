"""A pass over shards as one Prefect task."""

from collections.abc import Callable

from tasks.lineage.store import Made
from tasks.lineage.task import task


@task(
    name="read-shards",
    task_run_name="{label}",
    tried_again=True,
)
def read_shards(make: Callable[[], Made], label: str) -> Made:
    """Make or find what comes of shards; tried again, it goes on at the shard where it was."""
    return make()
