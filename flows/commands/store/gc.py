"""`uwm store gc` and `uwm store restore`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable, shown
from flows.commands.options import DEFAULT_STORE, REFERENCE_HELP, JsonOption, StoreOption, grouped
from flows.commands.start import imported_quickly

if TYPE_CHECKING:
    from flows.collecting import Candidate, Rubbish

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_ALL = "all"
_WHY = "uwm store gc"


@dataclass(frozen=True)
class Wanted:
    """What may be dropped."""

    kinds: Annotated[
        str,
        typer.Option(
            "--kinds", metavar="KINDS", help="Of model, embeddings, activations, separated by commas, or all."
        ),
    ] = "model"
    keep_tagged: Annotated[bool, typer.Option("--keep-tagged", help="Drop no artifact that a tag names.")] = False
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Only what was made and last used longer ago, such as 30d."),
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="Drop also what cannot be made again, or not with the same bytes.")
    ] = False


@grouped
def gc(
    wanted: Wanted = Wanted(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped, and drop nothing.")] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Drop files that can be made again, and what killed processes left; manifests stay, and what a run uses."""
    age, kinds = _age(wanted.older_than), _kinds(wanted.kinds)
    with imported_quickly():
        from flows.collecting import Wish, collect, find_rubbish
        from flows.commands.display import progress_shown
        from tasks.lineage.store import Store

    opened = Store(store)
    with progress_shown():
        found = find_rubbish(opened, Wish(kinds, wanted.keep_tagged, age, wanted.force))
        done = found if dry_run else collect(opened, found, _WHY)
    kept = [item for item in found.candidates if item.kept is not None]
    if json:
        typer.echo(dumps(_as_json(done, kept, dry_run=dry_run)))
        return
    for item in done.dropped:
        typer.echo(_line(item))
    for item in kept:
        typer.echo(printable(f"kept: {item.ref.kind} {item.ref.version[:16]}: {item.kept}"))
    for line in _totals(done, dry_run=dry_run):
        typer.echo(line)


def restore(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make the files of an artifact again that were dropped; they come out with the same bytes, or it is an error."""
    from flows.references import find_reference
    from tasks.lineage.store import Store

    opened = Store(store)
    ref = find_reference(opened, reference)
    if opened.holds(ref):
        typer.echo(f"{ref.kind} {ref.version[:16]} has all its files")
        return
    with imported_quickly():
        from flows.commands.display import progress_shown
        from flows.reproducing.remaking import make_again

    with progress_shown():
        make_again(opened, ref)
    typer.echo(f"{ref.kind} {ref.version[:16]} has its files again, with the same bytes")


def _age(text: str | None) -> timedelta:
    if text is None:
        return timedelta(0)
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if found is None:
        raise SpecError(f"--older-than {shown(text)} is no age; write a number and s, m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _kinds(text: str) -> list[str]:
    from data_specs.dropping import DROPPED_KINDS

    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == [_ALL]:
        return [*DROPPED_KINDS]
    unknown = [name for name in names if name not in DROPPED_KINDS]
    if unknown or not names:
        raise SpecError(f"--kinds {shown(text)}: expected {', '.join(DROPPED_KINDS)} or {_ALL}")
    return names


def _line(item: "Candidate") -> str:
    from rich.filesize import decimal

    return f"{item.ref.kind} {item.ref.version[:16]}: {decimal(item.size_bytes)}, made in {item.seconds:.1f} s"


def _totals(done: "Rubbish", *, dry_run: bool) -> list[str]:
    from rich.filesize import decimal

    would = "would be " if dry_run else ""
    n = len(done.dropped)
    lines = [
        f"files of {n} artifacts {would}dropped: {decimal(done.freed_bytes)} of room, {done.seconds:.1f} s to make again"
    ]
    scratch = sum(item.size_bytes for item in done.scratch)
    rest = {
        "drops that were cut off": len(done.leftovers),
        f"scratch folders ({decimal(scratch)})": len(done.scratch),
        "folders of fetched copies": len(done.copies),
        "locks": done.n_locks,
    }
    told = ", ".join(f"{count} {what}" for what, count in rest.items() if count)
    return [*lines, *([f"of killed processes {would}removed: {told}"] if told else [])]


def _as_json(done: "Rubbish", kept: "list[Candidate]", *, dry_run: bool) -> dict[str, Any]:
    def told(item: "Candidate") -> dict[str, Any]:
        return {**item.ref.model_dump(), "size_bytes": item.size_bytes, "seconds": item.seconds}

    return {
        "dry_run": dry_run,
        "dropped": [told(item) for item in done.dropped],
        "kept": [told(item) | {"why": item.kept} for item in kept],
        "freed_bytes": done.freed_bytes,
        "seconds_to_make_again": done.seconds,
        "completed_drops": len(done.leftovers),
        "scratch_bytes": sum(item.size_bytes for item in done.scratch),
        "scratch_folders": len(done.scratch),
        "fetched_folders": len(done.copies),
        "locks": done.n_locks,
    }
