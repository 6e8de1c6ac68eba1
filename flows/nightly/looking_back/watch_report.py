"""The report of a watch: what its nights left, what differs from the baseline, and what can be done."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data_specs.errors import PipelineError
from data_specs.evaluation_files import read_figures, read_intervals
from data_specs.history import History, HistoryRow
from data_specs.manifest import ArtifactRef
from data_specs.watch import BASELINE
from data_specs.wording import first_line, one_line
from flows.commands.lineage.diff import divergence_lines
from flows.nightly.looking_back.history import HistoryFilter, history_of
from flows.nightly.looking_back.slides import with_slides
from flows.nightly.nights import read_nights
from tasks.lineage.store import Store
from tasks.reporting.watch_page import Remedy, Seen, WatchCell, render_watch
from tasks.reporting.watch_story import Story, story_of
from tasks.tables.verdict import HEADLINE
from tasks.tracing.divergence import find_divergences
from tasks.tracing.edges import Edges
from tasks.tracing.index import open_index

_EVALUATION = "evaluation"
_MOST_LINES = 24


def watch_report(
    store: Store, name: str, out: Path, now: datetime, settings: Mapping[str, Any] | None = None, file: str = ""
) -> str:
    """The page of a watch as HTML.

    Args:
        store: holds its nights.
        name: of the watch.
        out: where the page will lie; links start there.
        now: what was due later is not missed.
        settings: of the watch; None for those of its newest night.
        file: of the settings, for commands that name it.

    Raises:
        SpecError: the store knows no such watch.
    """
    history = with_slides(store.root, history_of(store.root, HistoryFilter(watch=name), now), (HEADLINE,))
    if settings is None:
        nights = read_nights(store.root, name)
        settings = nights[-1].settings if nights else {}
    place = _Place(store, name, out.absolute().parent, settings, file or f"{name}.yaml")
    cells = [*_cells(place, history)]
    watched = {(cell.model, cell.on) for cell in cells}
    left = [f"{model} @ {on}" for _, model, on in history.series() if (model, on) not in watched and model != BASELINE]
    if left:
        history.remarks.append(f"no longer watched, and not shown: {', '.join(left)}; see `uwm history --watch {name}`")
    return render_watch(name, history, cells, now.isoformat())


def relative_report(report: Path | str | None, root: Path, folder: Path) -> str | None:
    """A relative link from a page's folder to a report's file; of a store that was moved to where it lies now.

    Args:
        report: the file, as it was told when it was made; None of what has none.
        root: of the store.
        folder: of the page.
    """
    if report is None:
        return None
    for found in (Path(report), root.joinpath(*Path(report).parts[-3:])):
        if found.is_file():
            return quote(os.path.relpath(found.absolute(), folder))
    return None


class _Place:
    """What all models and sets of a page have in common."""

    def __init__(self, store: Store, watch: str, folder: Path, settings: Mapping[str, Any], file: str) -> None:
        self.store, self.watch, self.folder, self.settings, self.file = store, watch, folder, settings, file
        self._edges: Edges | None = None

    def edges(self) -> Edges:
        """Of the store's artifacts, looked at once."""
        if self._edges is None:
            self._edges = Edges(open_index(self.store.root))
        return self._edges

    def tag(self, section: str, model: str = "") -> str | None:
        """The tag that settings name a model, or the baseline, by."""
        found = self.settings.get(section) or {}
        found = found.get(model) or {} if model else found
        tag = found.get("tag")
        return tag if isinstance(tag, str) else None

    def command(self, *words: str) -> str:
        """A line for a shell."""
        return shlex.join(["uwm", *words, "--store", str(self.store.root)])


def _cells(place: _Place, history: History) -> Iterator[WatchCell]:
    series = {(model, on): rows for (_, model, on), rows in history.series().items()}
    whole = [row for row in history.rows if row.model is None]
    models, sets = place.settings.get("models") or {}, place.settings.get("sets") or {}
    for model, on in [(model, on) for model in models for on in sets] or series:
        story = story_of(series.get((model, on), whole))
        yield WatchCell(model, on, story, _seen(place, model, on, story))


def _seen(place: _Place, model: str, on: str, story: Story) -> Seen:
    newest = story.newest
    if newest is None:
        return Seen(remedies=[*_remedies(place, model, on, story)])
    return Seen(
        baseline=_baseline(place.store, newest),
        since_baseline=_since_baseline(place, newest),
        report=relative_report(newest.report, place.store.root, place.folder),
        remedies=[*_remedies(place, model, on, story)],
    )


def _baseline(store: Store, row: HistoryRow) -> tuple[Mapping[str, float], Mapping[str, tuple[float, float]]] | None:
    if row.baseline_evaluation is not None:
        folder = store.path(_evaluation(row.baseline_evaluation))
        with suppress(PipelineError, OSError, ValueError):
            return read_figures(folder), read_intervals(folder)
    return None


def _since_baseline(place: _Place, row: HistoryRow) -> list[str]:
    """What differs by itself behind the two evaluations; or why nobody can say."""
    if row.evaluation is None or row.baseline_evaluation in (None, row.evaluation):
        return []
    one, other = _evaluation(str(row.baseline_evaluation)), _evaluation(row.evaluation)
    gone = [ref.version[:12] for ref in (one, other) if not place.store.holds(ref)]
    if gone:
        return [f"cannot be told: evaluation {' and '.join(gone)} is not in the store any more"]
    try:
        found = find_divergences(place.store, place.edges(), one, other)
    except (PipelineError, OSError) as error:
        return [one_line(f"cannot be told: {first_line(error)}", 300)]
    lines = [one_line(" ".join(divergence_lines(item)), 400) for item in found]
    more = [f"and {len(lines) - _MOST_LINES} things more"] if len(lines) > _MOST_LINES else []
    return [*lines[:_MOST_LINES], *more]


def _remedies(place: _Place, model: str, on: str, story: Story) -> Iterator[Remedy]:
    if story.light in ("passed", "ungated"):
        return
    newest, good = story.newest, story.last_good
    if story.light == "none":
        yield Remedy("Run it now; what is there already is not computed again", place.command("reevaluate", place.file))
    metric = next((gate.gate.metric for gate in newest.gates if gate.outcome == "fail"), "GS") if newest else "GS"
    yield Remedy("See it night by night", place.command("history", model, "--set", on, "--metric", metric))
    if newest is None or newest.evaluation is None:
        return
    if good is not None and good.evaluation not in (None, newest.evaluation):
        yield Remedy(
            "See what differs from the last good night",
            place.command("lineage", "diff", str(good.evaluation)[:16], newest.evaluation[:16]),
        )
    yield from _moves(place, model, newest, good)


def _moves(place: _Place, model: str, newest: HistoryRow, good: HistoryRow | None) -> Iterator[Remedy]:
    """Tags that can be moved: the model's back, or the baseline's on."""
    tag, baseline = place.tag("models", model), place.tag("baseline")
    if tag and good and good.what not in (None, newest.what) and _is_there(place.store, str(good.what)):
        why = "Go back to the model that passed, if the new one is to blame"
        yield Remedy(why, place.command("tag", tag, str(good.what)[:16]))
    if baseline and baseline != tag and newest.what and _is_there(place.store, newest.what):
        why = "Take it as it is from now on, if that is how it should be"
        yield Remedy(why, place.command("tag", baseline, newest.what[:16]))


def _is_there(store: Store, version: str) -> bool:
    return any(store.holds(ArtifactRef(kind=kind, version=version)) for kind in ("model", "edit"))


def _evaluation(version: str) -> ArtifactRef:
    return ArtifactRef(kind=_EVALUATION, version=version)
