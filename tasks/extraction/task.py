"""A pass over shards as one Prefect task, and one shard's share of it as another."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from data_specs.errors import SpecError
from tasks.encoders.forward import resolve_device
from tasks.extraction.parts import Part, PartMaker
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import digest_of, text_sha256
from tasks.lineage.progress import listening
from tasks.lineage.store import Store
from tasks.lineage.task import task

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
def make_part(maker: PartMaker, part: Part, store: Path, context: RunContext, source: str) -> tuple[bool, list[str]]:
    """Make one part in the process of an engine's worker.

    Args:
        maker: how.
        part: which.
        store: the folder of the store, the same for all.
        context: how the run is carried out; `auto` and `cuda` mean the worker's own device.
        source: digest of the source of the run that asks.

    Returns:
        Whether it was made, or there already; and what the user should read.

    Raises:
        SpecError: the worker runs other source, has another model or no such device.
        DataError: the shard is missing or another here, or too many of its samples are bad.
    """
    if source != source_digest():
        raise SpecError(f"a worker runs other source than this run, in {_ROOT}; install the same version on all")
    heard = _Notices()
    own = replace(context, device=str(resolve_device(context.device)))
    with listening(heard):
        made = maker(part, Store(store), own)
    return not made.reused, heard.texts


@cache
def source_digest() -> str:
    """Of all source that can decide what a part holds."""
    paths = sorted(path for folder in _SOURCES for path in (_ROOT / folder).rglob("*.py"))
    return digest_of({path.relative_to(_ROOT).as_posix(): text_sha256(path.read_text("utf-8")) for path in paths})


class _Notices:
    """Keeps notices; of progress, one that has made a part says enough."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def start(self, stage: str, total: int | None, unit: str) -> None:
        return

    def advance(self, stage: str, n: int) -> None:
        return

    def finish(self, stage: str) -> None:
        return

    def notice(self, text: str) -> None:
        self.texts.append(text)
