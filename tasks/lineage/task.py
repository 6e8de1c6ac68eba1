"""A step of the pipeline: a Prefect task inside a flow, and a plain function everywhere else."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext

from data_specs.errors import PipelineError
from tasks.lineage.disk import is_full

_P = ParamSpec("_P")
_R = TypeVar("_R")

_RETRIES = 2


class PipelineTask(Task[_P, _R]):
    """A task that needs no server where no flow runs: a plan, a worker process, a notebook."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:  # type: ignore[override]
        """Run the step; see Prefect's Task."""
        if FlowRunContext.get() is None:
            return self.fn(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def task(
    *, name: str, task_run_name: str | None = None, tried_again: bool = False
) -> Callable[[Callable[_P, _R]], PipelineTask[_P, _R]]:
    """As Prefect's decorator, without its cache: the store is the one cache.

    Prefect's own would hash this function only, so that a fix deeper down would be answered with old results.

    Args:
        name: of the task.
        task_run_name: of a run of it; a template over its arguments.
        tried_again: where that could help, twice, a second apart.
    """
    retries = {"retries": _RETRIES, "retry_delay_seconds": 1, "retry_condition_fn": worth_retrying}
    return lambda function: PipelineTask(
        function,
        name=name,
        task_run_name=task_run_name,
        cache_policy=NO_CACHE,
        **(retries if tried_again else {}),  # type: ignore[arg-type]
    )


def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again could help: not where the data or the settings are wrong, or the disk is full."""
    error = state.data if isinstance(state.data, BaseException) else getattr(state.data, "result", None)
    return not (isinstance(error, PipelineError | MemoryError) or (error is not None and is_full(error)))
