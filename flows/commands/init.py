"""`uwm init`: a first run.yaml."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_specs.config_file import load_preset, resolve_location
from data_specs.errors import DataError, SpecError
from data_specs.setting_changes import with_changes
from data_specs.wording import printable, reason
from flows.commands.options import DEFAULT_STORE, CopyLimitOption, SetOption, StoreOption, size_bytes

if TYPE_CHECKING:
    from tasks.settings_draft.found_sets import FoundSet

_RUN, _WATCH = Path("run.yaml"), Path("watch.yaml")
_LOOKED_AT = ("*.tar", "data/*.tar")
_TOLD_SECONDS = 0.5


def init(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TABLE|SHARDS...]",
            help="Tables to pack, or shards (braces and * expand); default: the shards here and in data/.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The settings file to write.")] = _RUN,
    preset: Annotated[
        str, typer.Option("--preset", help="Whose model and settings, such as vit-b32, vit-l14 or siglip-so400m.")
    ] = "vit-b32",
    fetch_limit: CopyLimitOption = None,
    changes: SetOption = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Write a watch for `uwm reevaluate`, to --out watch.yaml unless it is given."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a settings file that runs as it is: shards for calibration and others for evaluation, with what they hold."""
    settings = with_changes(load_preset(preset), changes or ())
    limit = None if fetch_limit is None else size_bytes(fetch_limit)
    if watch and out == _RUN:
        out = _WATCH
    if out.exists():
        raise SpecError(f"--out {out} is there already; remove it or choose another name")
    sets = _found(sources, limit)
    if watch:
        text = _watch(sets, settings, out, Path(store))
    else:
        from tasks.settings_draft.run_file import run_text

        text = run_text(sets, settings, out)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SpecError(f"cannot write --out {out}: {reason(error)}") from error
    for line in text.splitlines():
        if line.startswith("#"):
            typer.echo(printable(line.removeprefix("# ")), err=True)
    typer.echo(printable(f"wrote {out}"))


def _found(sources: list[str] | None, limit_bytes: int | None) -> "list[FoundSet]":
    """Sets of shards and tables: those that are named, or those that lie here."""
    from flows.commands.display import progress_shown
    from tasks.settings_draft.found_sets import shard_sets, table_set
    from tasks.shards.location import expand_locations
    from tasks.shards.tables import is_table

    given = sources or [name for name in _LOOKED_AT if list(Path().glob(name))]
    if not given:
        raise SpecError("there are no shards here or in data/; name a table (csv, jsonl or parquet), or shards")
    tables = [Path(name) for name in given if is_table(name)]
    locations = expand_locations(
        [resolve_location(name, Path()) for name in given if not is_table(name)], asks_stores=True
    )
    with progress_shown(told_from=_TOLD_SECONDS), TemporaryDirectory(prefix="uwm-") as folder:
        return [*shard_sets(locations, Path(folder), limit_bytes=limit_bytes), *map(table_set, tables)]


def _watch(sets: "Sequence[FoundSet]", settings: dict[str, Any], out: Path, store: Path) -> str:
    """The models of a first watch: what the store's tags name, else what a run.yaml here makes, else the original."""
    from tasks.lineage.tags import current_tags
    from tasks.settings_draft.watch_text import watch_text

    original = {"model": settings["model"]}
    tags = [name for name, ref in current_tags(store).items() if ref.kind in ("model", "edit")]
    models: dict[str, Any] = {name: {"tag": name} for name in tags}
    if not models:
        models = {"candidate": {"config": str(_RUN)}} if _RUN.exists() else {"original": original}
    baseline = models[min(tags, key=lambda name: name != "production")] if tags else original
    text = watch_text(sets, models, baseline, out)
    if text is None:
        raise DataError("no shards here hold pairs with a safe and an unsafe text and image; expected all four members")
    return text
