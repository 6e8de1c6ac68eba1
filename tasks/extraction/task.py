"""A pass over shards as one Prefect task, and a share of it as another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

from data_specs.errors import SpecError
from data_specs.manifest import ArtifactRef
from tasks.encoders.forward import resolve_device
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import digest_of, text_sha256
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tasks.lineage.task import task
from tasks.workers.shared_work import Share

_Result = TypeVar("_Result")
_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("data_specs", "tasks")


@task(
    name="read-shards",
    task_run_name="{label}",
    tried_again=True,
)
def read_shards(make: Callable[[], _Result], label: str) -> _Result:
    """Make or find what comes of shards; tried again, it goes on at the shard where it was."""
    return make()


@task(name="make-part", tried_again=True)
def do_share(
    share: Share, store: Path, context: RunContext, source: str, threads: int
) -> tuple[set[ArtifactRef], list[str]]:
    """Do a share of some work in the process of an engine's worker.

    Args:
        share: which.
        store: the folder of the store, the same for all.
        context: how the run is carried out; `auto` and `cuda` mean the worker's own device.
        source: digest of the source of the run that asks.
        threads: of the run that asks, which change last digits on the CPU; engines give their workers others.

    Returns:
        What was made, and what the user should read.

    Raises:
        SpecError: the worker runs other source, has another model or no such device.
        DataError: a shard is missing or another here, or too many of its samples are bad.
    """
    if source != source_digest():
        raise SpecError(f"a worker runs other source than this run, in {_ROOT}; install the same version on all")
    heard, own = Notices(), Store(store)
    with listening(heard), computing_by(threads):
        share.do(own, replace(context, device=str(resolve_device(context.device))))
    return own.published, heard.texts


@cache
def source_digest() -> str:
    """Of all source that can decide what a part holds."""
    paths = sorted(path for folder in _SOURCES for path in (_ROOT / folder).rglob("*.py"))
    return digest_of({path.relative_to(_ROOT).as_posix(): text_sha256(path.read_text("utf-8")) for path in paths})


@contextmanager
def computing_by(threads: int) -> Iterator[None]:
    """Let torch use so many threads for as long as the block lasts."""
    before = torch.get_num_threads()
    if before == threads:  # setting them also ends that MKL takes fewer for small products
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
