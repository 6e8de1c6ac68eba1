"""`uwm lineage uses`: what was made from a shard, a pair, a picture, weights or an artifact."""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import ArtifactError, DataError
from data_specs.manifest import PART
from data_specs.wording import printable
from flows.commands.options import DEFAULT_STORE, JsonOption, StoreOption

if TYPE_CHECKING:
    from tasks.tracing.uses import Touched, Uses

_MOST_RUNS, _MOST_UNREAD = 3, 20


def uses(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="SHA|PATH|PAIR_ID|REF",
            help="A shard, weights or picture as a file or by its SHA-256, where a shard lay, a pair's id, or an artifact.",
        ),
    ],
    shards: Annotated[
        list[str] | None,
        typer.Option(
            "--shards", metavar="SHARD", help="Where shards lie now that were moved; may be a pattern, and be repeated."
        ),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Fetch shards that lie on no local disk, too, to look for a picture in them."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Show everything that was made from it, edits and exports too: this picture must go, what did it touch?"""
    from tasks.lineage.store import Store
    from tasks.tracing.uses import find_uses

    opened = Store(store)
    with _told_of_progress(asked):
        found = find_uses(opened, asked, _places(shards or []), fetch=fetch)
    if json:
        typer.echo(dumps(_as_json(found)))
    else:
        _say(found)
    for item in found.unread[:_MOST_UNREAD]:
        typer.echo(printable(f"not looked through: {item.location}: {item.reason}"), err=True)
    if found.broken:
        raise ArtifactError(
            f"the answer is not complete: {len(found.broken)} artifacts are broken, and what they were made of is not known;"
            f" the first: {found.broken[0]}"
        )
    if found.unread:
        first = found.unread[0]
        raise DataError(
            f"the answer is not complete: {len(found.unread)} shards could not be looked through, the first: {first.location}:"
            f" {first.reason}"
        )


def _told_of_progress(asked: str) -> AbstractContextManager[None]:
    """Shards may have to be read for a file; what shows that takes its time to import."""
    if not Path(asked).is_file():
        return nullcontext()
    from flows.commands.display import progress_shown

    return progress_shown()


def _places(patterns: list[str]) -> list[Path]:
    if not patterns:
        return []
    from tasks.shards.location import expand_locations

    return [Path(place) for place in expand_locations(patterns)]


def _say(found: "Uses") -> None:
    parts: Counter[tuple[str, bool]] = Counter()
    for line in found.what:
        typer.echo(printable(line))
    for item in found.touched:
        if item.ref.kind.endswith(PART):
            parts[item.ref.kind, item.certain] += 1
        else:
            typer.echo(printable(f"  {_line(item)}"))
    for (kind, certain), n in sorted(parts.items()):
        typer.echo(f"  {kind}: {n} parts{'' if certain else ', perhaps'}")
    for record in found.exports:
        pushed = f", pushed to {record['pushed']}" if record.get("pushed") else ""
        typer.echo(
            printable(
                f"  exported: {record['kind']} {record['version'][:16]} to {record['out']}{pushed}, {record['at'][:19]} by"
                f" {record.get('user')} on {record.get('host')}"
            )
        )
    if not found.touched:
        typer.echo("nothing was made from it", err=True)


def _line(item: "Touched") -> str:
    more = f" and {len(item.runs) - _MOST_RUNS} more" if len(item.runs) > _MOST_RUNS else ""
    runs = f" in {', '.join(item.runs[:_MOST_RUNS])}{more}" if item.runs else ""
    tags = f", tagged {', '.join(item.tags)}" if item.tags else ""
    return f"{item.ref.kind} {item.ref.version[:16]}{'' if item.certain else ', perhaps'}{runs}{tags}"


def _as_json(found: "Uses") -> dict[str, object]:
    artifacts = [
        {
            "kind": item.ref.kind,
            "version": item.ref.version,
            "direct": item.direct,
            "certain": item.certain,
            "runs": [*item.runs],
            "tags": [*item.tags],
        }
        for item in found.touched
    ]
    return {
        "what": found.what,
        "artifacts": artifacts,
        "exports": found.exports,
        "broken": found.broken,
        "not_looked_through": [asdict(item) for item in found.unread],
    }
