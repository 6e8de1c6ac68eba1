"""`uwm shards pack`, `import-visu` and `check`."""

import csv
import json as json_text
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.errors import DataError, SpecError
from data_specs.run_config import RunConfig
from data_specs.wording import SHOWN_LENGTH, one_line, printable, reason, shortened, shown
from flows.commands.options import CopyLimitOption, JsonOption, WorkersOption, size_bytes

if TYPE_CHECKING:
    from tasks.shards.census import ShardCensus
    from tasks.shards.packing import Packed
    from tasks.shards.tables import BadRow

app = typer.Typer(help="Make shards and check them.", no_args_is_help=True)

OutOption = Annotated[
    str, typer.Option("--out", metavar="PATTERN", help="Where shards go, such as 'DIR/name-%06d.tar'.")
]
MaxCountOption = Annotated[int, typer.Option("--max-count", help="Pairs in one shard.")]
_MAX_COUNT = 1000
_LARGEST_LIST = 12
_MOST_BAD = 20
_MAX_BAD_FRACTION: float = RunConfig.model_fields["max_bad_fraction"].default


@app.command("pack")
def pack(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="csv, jsonl or parquet with columns key, tag, safe_text, unsafe_text, safe_image, unsafe_image.",
        ),
    ],
    out: OutOption,
    max_count: MaxCountOption = _MAX_COUNT,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out, and count, rows that cannot be packed.")
    ] = False,
    bad: Annotated[
        Path | None, typer.Option("--bad", metavar="FILE.csv", help="Write all rows that cannot be packed, and why.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Pack a table of pairs into shards; image paths in it start at its folder, empty values are left out."""
    from flows.commands.display import progress_shown
    from tasks.shards.packing import BadRowsError, pack_table

    try:
        with progress_shown():
            packed = pack_table(table, out, max_count=max_count, skip_bad=skip_bad)
    except BadRowsError as error:
        _tell_bad_rows(error.rows, bad)
        raise
    _tell_bad_rows(packed.bad, bad)
    _show_packed(packed, {"bad row": len(packed.bad)} if packed.bad else {}, json)


def _tell_bad_rows(rows: "Sequence[BadRow]", file: Path | None) -> None:
    for row in rows[:_MOST_BAD]:
        typer.echo(f"  bad {one_line(row.problem)}", err=True)
    if len(rows) > _MOST_BAD:
        typer.echo(f"  and {len(rows) - _MOST_BAD} more; --bad FILE.csv writes all", err=True)
    if file is not None:
        try:
            with file.open("w", encoding="utf-8", newline="") as opened:
                csv.writer(opened).writerows([("row", "problem"), *((row.place, row.problem) for row in rows)])
        except OSError as error:
            raise SpecError(f"cannot write --bad {file}: {reason(error)}") from error


@app.command("import-visu")
def import_visu(
    texts: Annotated[Path, typer.Option("--texts", metavar="JSON", help="ViSU-Text_train.json or the like.")],
    out: OutOption,
    coco: Annotated[
        Path | None, typer.Option("--coco", metavar="DIR", help="Folder with COCO's images, at any depth.")
    ] = None,
    unsafe_images: Annotated[
        Path | None,
        typer.Option("--unsafe-images", metavar="DIR", help="Folder with {split}/.../{incremental_id}/0.jpg."),
    ] = None,
    max_count: MaxCountOption = _MAX_COUNT,
    texts_only: Annotated[
        bool, typer.Option("--texts-only", help="Pack captions and tags alone; no image folder is looked at.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out, and count, pairs that lack an image.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Pack the ViSU data set; pairs with an empty caption are left out and counted."""
    from flows.commands.display import progress_shown
    from tasks.shards import visu

    with progress_shown():
        imported = visu.import_visu(
            texts,
            out,
            coco=coco,
            unsafe_images=unsafe_images,
            texts_only=texts_only,
            skip_missing=skip_missing,
            max_count=max_count,
        )
    _show_packed(imported.packed, imported.left_out, json)


@app.command("check")
def check(
    shards: Annotated[list[str], typer.Argument(metavar="SHARD...", help="Paths or URLs; braces and * expand.")],
    workers: WorkersOption = None,
    max_bad_fraction: Annotated[
        float, typer.Option("--max-bad-fraction", min=0, max=1, help="Share of bad samples that a run tolerates.")
    ] = _MAX_BAD_FRACTION,
    fetch_limit: CopyLimitOption = None,
    json: JsonOption = False,
) -> None:
    """Count pairs, tags and bad samples; exit status 3 where a shard is broken, or more of a set are bad than a run takes."""
    from data_specs.config_file import resolve_location
    from flows.commands.display import progress_shown
    from tasks.shards.census import count_sets, summary, take_census
    from tasks.shards.location import expand_locations

    locations = [resolve_location(location, Path.cwd()) for location in expand_locations(shards, asks_stores=True)]
    limit = None if fetch_limit is None else size_bytes(fetch_limit)
    n_workers = min(4, os.cpu_count() or 1) if workers is None else workers
    with progress_shown(), tempfile.TemporaryDirectory(prefix="uwm-") as folder:
        censuses = take_census(locations, Path(folder), workers=n_workers, limit_bytes=limit)
    if json:
        typer.echo(json_text.dumps(summary(censuses)))
    else:
        _show_censuses(censuses, summary(censuses))
    refused = [item for item in count_sets(censuses) if item.beyond(max_bad_fraction)]
    for item in refused:
        typer.echo(
            f"a run would refuse set {printable(item.name)}: {item.n_bad} of {item.n_samples} samples are bad for the"
            f" {item.encoder} encoder, more than max_bad_fraction {max_bad_fraction:g}",
            err=True,
        )
    if refused or any(census.error is not None for census in censuses):
        raise typer.Exit(DataError.exit_code)


def _show_packed(packed: "Packed", left_out: dict[str, int], json: bool) -> None:
    if json:
        counts: dict[str, Any] = {**vars(packed), "shards": [str(path) for path in packed.shards], "left_out": left_out}
        counts["bad"] = [vars(row) for row in packed.bad]
        typer.echo(json_text.dumps(counts))
        return
    first, *others = packed.shards
    to = f" to {others[-1]}" if others else ""
    typer.echo(f"packed {packed.n_pairs} pairs into {len(packed.shards)} shards: {printable(f'{first}{to}')}")
    typer.echo(f"members: {_listed(packed.members)}")
    typer.echo(f"tags: {_listed(packed.tags, packed.n_untagged)}")
    if left_out:
        typer.echo(f"left out: {_listed(left_out)}")


def _show_censuses(censuses: "list[ShardCensus]", sums: dict[str, Any]) -> None:
    n_listed = 0
    for census in censuses:
        if census.error is not None:
            typer.echo(f"BROKEN: {one_line(census.error)}")
            continue
        kind = f"{census.side} side alone" if census.side else "paired" if census.paired else "unpaired"
        typer.echo(
            f"{printable(census.location)}: {census.n_samples} pairs, {census.n_bad} bad; {kind},"
            f" {' and '.join(census.encoders)}; tags: {_listed(census.tags, census.n_untagged)}"
        )
        for item in census.bad[: _MOST_BAD - n_listed]:
            n_listed += 1
            detail = f" ({one_line(item.detail)})" if item.detail else ""
            typer.echo(f"  bad {shown(item.key)}: {item.reason}{detail}")
    n_bad = sum(len(census.bad) for census in censuses)
    if n_bad > n_listed:
        typer.echo(f"  and {n_bad - n_listed} more; --json lists all")
    reasons = f" ({_listed(sums['reasons'])})" if sums["reasons"] else ""
    typer.echo(
        f"in all {sums['n_pairs']} pairs in {sums['n_shards']} shards, {sums['n_bad']} bad{reasons},"
        f" {sums['n_broken']} shards broken; tags: {_listed(sums['tags'], sums['n_untagged'])}"
    )


def _listed(counts: dict[str, int], n_untagged: int = 0) -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{shortened(printable(name), SHOWN_LENGTH)} {n}" for name, n in most[:_LARGEST_LIST]]
    if len(most) > _LARGEST_LIST:
        named.append(f"{len(most) - _LARGEST_LIST} more")
    if n_untagged:
        named.append(f"none {n_untagged}")
    return ", ".join(named) or "none"
