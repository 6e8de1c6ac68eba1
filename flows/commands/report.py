"""`uwm report`: a watch, or several runs, as one page."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_specs.errors import SpecError
from data_specs.wording import printable, reason, shown_path
from flows.commands.options import DEFAULT_STORE, StoreOption

if TYPE_CHECKING:
    from tasks.lineage.store import Store

_YAML = (".yaml", ".yml")


def report(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="[REF]...", help="Runs, by name, id, or anything that they made.")
    ] = None,
    watch: Annotated[
        str, typer.Option("--watch", metavar="WATCH.yaml", help="A watch in place of runs: its file, or its name.")
    ] = "",
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")] = Path("report.html"),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write several runs side by side, or all of a watch, into one page that needs no network."""
    from tasks.lineage.place import require_local
    from tasks.lineage.store import Store

    if bool(references) == bool(watch):
        raise SpecError("give either runs, such as `uwm report NAME NAME`, or --watch WATCH.yaml")
    require_local(out, "--out")
    page = _page(Store(store), references or [], watch, out)
    draft = out.with_name(f".{out.name}.tmp")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(out)
    except OSError as error:
        raise SpecError(f"cannot write {shown_path(out)}: {reason(error)}") from error
    typer.echo(printable(str(out)))


def _page(store: "Store", references: list[str], watch: str, out: Path) -> str:
    now = datetime.now(UTC)
    if references:
        from flows.side_by_side import runs_report

        return runs_report(store, references, out, now)
    from flows.nightly.looking_back.watch_report import watch_report

    if not watch.endswith(_YAML):
        return watch_report(store, watch, out, now)
    from data_specs.watch_file import load_watch

    settings = load_watch(Path(watch))
    return watch_report(store, settings.name, out, now, settings.model_dump(mode="json"), watch)
