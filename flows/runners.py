"""Where the parts of a run are made: in processes of this machine, or by the workers of Dask or Ray."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner

from data_specs.errors import MachineError, PipelineError, SpecError
from data_specs.placement import Device, Placement, RunnerName, placement_of
from data_specs.wording import first_line
from tasks.extraction.task import do_share, source_digest
from tasks.lineage.circumstances import RunContext
from tasks.lineage.progress import notice
from tasks.lineage.store import Store
from tasks.workers.devices import resolve_devices
from tasks.workers.local import LocalWorkers
from tasks.workers.shared_work import Given, Runner, SharedWork

_LOOPBACK = "127.0.0.1"
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 20
# Of Dask's scheduler or Ray's head; a port of more digits is none.
_PLACE = re.compile(r"(?:(?:tcp|tls|ray)://)?(?P<host>\[[^\]/]+\]|[^:/\[\]]+):(?P<port>\d{1,5})/?")
_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, each worker would install the project anew
    "RAY_worker_niceness": "0",  # by default 15, which on a busy machine comes to nothing
    "RAY_worker_register_timeout_seconds": "300",
}
_RAY_OBJECT_BYTES = 100 << 20  # what a share and its answer need is small


@dataclass(frozen=True)
class Placed:
    """The device of a run's own process, how many processes compute on this machine, and who makes parts beside it."""

    device: str
    n_processes: int = 1
    runner: Runner | None = field(default=None, repr=False)
    started_by: RunnerName = "local"


@contextmanager
def placed(device: Device) -> Iterator[Placed]:
    """Who makes a run's parts, for as long as the block lasts.

    Raises:
        SpecError: a device is not here, or the runner is not installed or cannot be reached.
    """
    placement = placement_of(device)
    if placement.runner == "local":
        own, *others = resolve_devices(placement.devices)
        workers = LocalWorkers(others)
        try:
            yield Placed(own, 1 + len(others), workers if others else None)
        finally:
            workers.close()
        return
    wanted, n_workers = _of_engine(placement)
    _require_somebody(placement)
    with ExitStack() as stack:
        with _reached(placement):
            runner = stack.enter_context(_engine(placement, n_workers))
            if placement.address is not None:
                getattr(runner, "client", None)  # Dask's is connected when it is first asked for
        # Of the workers' devices, this process need have none.
        [own, *_] = resolve_devices("auto" if placement.address is not None and wanted != "cpu" else wanted)
        yield Placed(own, n_workers, EngineWorkers(runner, placement, wanted), placement.runner)


class EngineWorkers:
    """Hands one share after the other to whichever worker of an engine is free; the engine makes good for one that dies."""

    def __init__(self, runner: TaskRunner[Any], placement: Placement, device: str) -> None:
        """Use a runner that has been started; `device` is named as its workers see it."""
        self._runner, self._engine, self._device = runner, placement.runner, device
        # Of the flow. Within a task, Prefect would send all that the task was given along, the model too.
        self._flow = copy_context()

    def make(self, shared: SharedWork[Given], loaded: Given, store: Store, context: RunContext) -> None:
        """Have all done that is left of some work.

        Raises:
            PipelineError: what a worker met.
            ArtifactError: workers write to another store.
        """
        left = shared.shares(loaded, store, context)
        own = replace(context, device=self._device, runner=None)
        given = {"store": store.root, "context": own, "source": source_digest(), "threads": torch.get_num_threads()}
        numbers = {
            self._flow.run(self._submit, {"share": share, **given}): number for number, share in enumerate(left.shares)
        }
        for future in as_completed([*numbers]):
            made, notices = future.result()
            store.published.update(made)
            left.done(numbers[future], made)
            for text in notices:
                notice(text)

    def _submit(self, given: dict[str, Any]) -> Any:
        with self._asking_for_a_gpu():
            return self._runner.submit(do_share, given)

    def _asking_for_a_gpu(self) -> AbstractContextManager[Any]:
        if self._engine != "ray" or self._device == "cpu":
            return nullcontext()
        import ray
        from prefect_ray.context import remote_options

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return remote_options(num_gpus=1) if resources.get("GPU") else nullcontext()


def _of_engine(placement: Placement) -> tuple[str, int]:
    """The device as a worker names it, and how many workers are started here where there is no address."""
    devices = placement.devices
    if placement.address is not None:
        if "," in devices or devices == "all" or devices.startswith("cpu:"):
            raise SpecError(
                f"--devices {devices!r}: the workers of {placement.runner} at {placement.address} have a device each;"
                " give auto, cpu, cuda or cuda:N as a worker sees it"
            )
        return devices, 1
    found = resolve_devices(devices)
    if len(found) > 1 and found[0] != "cpu":
        raise SpecError(
            f"--devices {devices!r}: use --runner local for the GPUs of this machine, or the --runner-address of a cluster"
        )
    return found[0], len(found)


def _require_somebody(placement: Placement) -> None:
    """Refuse an address where nothing listens; engines would try again and again.

    Raises:
        SpecError: the host is not found, or nobody answers at the port.
    """
    found = None if placement.address is None else _PLACE.fullmatch(placement.address)
    if found is None:  # such as `auto`, and ways of an engine's own
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), _CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:  # of a name that is none, too
        raise _unanswered(placement, error) from error


def _unanswered(placement: Placement, error: Exception) -> SpecError:
    return SpecError(
        f"--runner-address {placement.address!r}: {placement.runner} does not answer there ({first_line(error)}); start"
        " it first"
    )


@contextmanager
def _reached(placement: Placement) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # of the engine's own
        if placement.address is None:
            raise MachineError(
                f"--runner {placement.runner}: its processes do not start here ({first_line(error)}); try again, or use"
                " --runner local"
            ) from error
        raise _unanswered(placement, error) from error


def _engine(placement: Placement, n_workers: int) -> TaskRunner[Any]:
    make = {"dask": _dask, "ray": _ray}[placement.runner]
    try:
        runner: TaskRunner[Any] = make(placement, n_workers)
    except ImportError as error:
        raise SpecError(
            f"--runner {placement.runner} is not installed ({error}); add it with `uv sync --extra {placement.runner}`"
        ) from error
    return runner


def _dask(placement: Placement, n_workers: int) -> Any:
    import dask

    # Dask tells at length how its workers come and go; asked once, when it is imported.
    dask.config.set({"logging": {"distributed": "critical"}})
    from prefect_dask.task_runners import DaskTaskRunner

    if placement.address is not None:
        return DaskTaskRunner(address=placement.address, client_kwargs={"timeout": _ANSWER_SECONDS})
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": n_workers,
            "threads_per_worker": 1,
            "processes": True,
            "host": _LOOPBACK,
            "dashboard_address": f"{_LOOPBACK}:0",
        }
    )


def _ray(placement: Placement, n_workers: int) -> Any:
    for name, value in _RAY.items():
        os.environ.setdefault(name, value)
    from prefect_ray.task_runners import RayTaskRunner

    quiet = {"configure_logging": False, "log_to_driver": False}
    if placement.address is not None:
        return RayTaskRunner(init_kwargs={"address": placement.address, **quiet})
    # Of a cluster that only this process reaches; else a key is written to the user's home.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    here = {
        "address": "local",  # else a cluster that happens to be here would be taken
        "num_cpus": n_workers,
        "object_store_memory": _RAY_OBJECT_BYTES,
        "include_dashboard": False,
        "_node_ip_address": _LOOPBACK,
    }
    return RayTaskRunner(init_kwargs={**here, **quiet})
