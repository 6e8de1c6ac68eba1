"""A watch as one page: how each model stands on each set, what to do about it, and how it came to that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_specs.figures import Interval
from data_specs.gate import GateResult
from data_specs.history import History, HistoryRow
from data_specs.metrics import METRICS, ZERO_SHOT, Metric, find_metric
from data_specs.moments import shown_moment
from tasks.reporting.history_plot import MOST_NIGHTS, history_plot
from tasks.reporting.pages import render_watch_template
from tasks.reporting.plot import Plot
from tasks.reporting.sources import ShownFigure
from tasks.reporting.watch_story import LIGHTS, Light, Story, worst_light
from tasks.tables.verdict import HEADLINE, SAFE_SIDE

_MOST_NIGHTS = 60
_MOST_METRICS = 4  # drawn of a model on a set
# A night in a drawing takes about 400 bytes.
_POINTS, _FEWEST_PLOTTED = 7500, 14


@dataclass(frozen=True)
class Remedy:
    """Something to do: why, and the command."""

    why: str
    command: str


@dataclass(frozen=True)
class Seen:
    """What flows know of one model on one set beside its history."""

    baseline: tuple[Mapping[str, float], Mapping[str, Interval]] | None = None  # figures and intervals, where known
    since_baseline: Sequence[str] = ()  # what differs from the baseline's lineage, a line each
    report: str | None = None  # link to its own report
    remedies: Sequence[Remedy] = ()


@dataclass(frozen=True)
class WatchCell:
    """One model on one set."""

    model: str
    on: str
    story: Story
    seen: Seen

    @property
    def name(self) -> str:
        """As runs are called."""
        return f"{self.model} @ {self.on}"

    @property
    def gates(self) -> list[GateResult]:
        """Of the newest night that measured it."""
        return self.story.newest.gates if self.story.newest else []


@dataclass(frozen=True)
class ComparedRow:
    """One metric on one set: the baseline and each model, with the change where a gate looked at it."""

    metric: Metric
    figures: list[ShownFigure | None]
    changes: list[GateResult | None] = field(default_factory=list)


@dataclass(frozen=True)
class ComparedSet:
    """Models side by side on one set, each in its newest night."""

    on: str
    columns: list[str]
    rows: list[ComparedRow]


@dataclass(frozen=True)
class NightLine:
    """One night: how it came out over all models and sets."""

    at: str
    light: Light
    word: str
    told: list[str]


def render_watch(name: str, history: History, cells: Sequence[WatchCell], now: str) -> str:
    """The page of a watch, below 5 MB.

    Args:
        name: of the watch.
        history: of this watch alone.
        cells: every model on every set that it watches.
        now: ISO 8601, when it is written.
    """
    order = list(LIGHTS)
    return render_watch_template(
        "watch.html",
        watch=name,
        now=shown_moment(now),
        light=worst_light(cell.story.light for cell in cells),
        lights=LIGHTS,
        models=list(dict.fromkeys(cell.model for cell in cells)),
        sets=list(dict.fromkeys(cell.on for cell in cells)),
        cells=dict(zip(_names(cells), cells, strict=True)),
        alarms=sorted(
            (cell for cell in cells if cell.story.light not in ("passed", "ungated")),
            key=lambda cell: order.index(cell.story.light),
        ),
        plots=_plots(history, cells),
        compared=_compared_sets(cells),
        nights=_nights(history),
        n_older=max(0, len(_by_night(history)) - _MOST_NIGHTS),
        slides=[item.sentence for item in history.slides if (item.model, item.set) in {*_names(cells)}],
        remarks=history.remarks,
    )


def _names(cells: Sequence[WatchCell]) -> list[tuple[str, str]]:
    return [(cell.model, cell.on) for cell in cells]


def _plots(history: History, cells: Sequence[WatchCell]) -> list[Plot]:
    """A section a set: the headline and what gates look at, over fewer nights where there are many drawings."""
    series = {(model, on): rows for (_, model, on), rows in history.series().items()}
    most = max(_FEWEST_PLOTTED, min(MOST_NIGHTS, _POINTS // max(1, len(cells) * _MOST_METRICS)))
    plots = []
    for on in dict.fromkeys(cell.on for cell in cells):
        own = [cell for cell in cells if cell.on == on and (cell.model, on) in series]
        gated = dict.fromkeys(gate.gate.metric for cell in own for gate in cell.gates if gate.gate.tag is None)
        metrics = [*dict.fromkeys((HEADLINE, *gated, SAFE_SIDE))][:_MOST_METRICS]
        drawn = [(cell.model, series[cell.model, on]) for cell in own]
        plots.append(history_plot(f"Over time: {on}", drawn, metrics, most))
    return [plot for plot in plots if plot.panels]


def _compared_sets(cells: Sequence[WatchCell]) -> list[ComparedSet]:
    found = []
    for on in dict.fromkeys(cell.on for cell in cells):
        own = [cell for cell in cells if cell.on == on and cell.story.newest is not None]
        baseline = next((cell.seen.baseline for cell in own if cell.seen.baseline is not None), None)
        measured = {name for cell in own if cell.story.newest for name in cell.story.newest.figures}
        rows = [_compared(name, own, baseline) for name in _main_metrics(measured)]
        if rows:
            columns = [*(["baseline"] if baseline else []), *(cell.model for cell in own)]
            found.append(ComparedSet(on, columns, rows))
    return found


def _main_metrics(measured: set[str]) -> list[str]:
    single = sorted(name for name in measured if name.startswith(f"{ZERO_SHOT}.") and name.endswith(".acc1"))
    return [*(name for name, row in METRICS.items() if row.main and name in measured), *single]


def _compared(
    name: str, cells: Sequence[WatchCell], baseline: tuple[Mapping[str, float], Mapping[str, Interval]] | None
) -> ComparedRow:
    held = [(cell.story.newest.figures, cell.story.newest.intervals) for cell in cells if cell.story.newest]
    columns = [*([baseline] if baseline else []), *held]
    figures = [
        ShownFigure(values[name], intervals.get(name)) if name in values else None for values, intervals in columns
    ]
    changes = [_gated_change(cell, name) for cell in cells]
    return ComparedRow(find_metric(name), figures, [*([None] if baseline else []), *changes])


def _gated_change(cell: WatchCell, metric: str) -> GateResult | None:
    own = (gate for gate in cell.gates if gate.gate.of_change and gate.gate.figure == metric)
    return next((gate for gate in own if gate.change is not None and gate.low is not None), None)


def _by_night(history: History) -> dict[str, list[HistoryRow]]:
    found: dict[str, list[HistoryRow]] = {}
    for row in history.rows:
        found.setdefault(row.at, []).append(row)
    return found


def _nights(history: History) -> list[NightLine]:
    """The newest first."""
    lines = []
    for at, rows in [*_by_night(history).items()][-_MOST_NIGHTS:]:
        lights: list[Light] = [
            "none" if row.state != "measured" else row.outcome or "ungated" for row in rows if row.state != "running"
        ]
        light = worst_light(lights)
        word = "running" if not lights else LIGHTS[light]
        lines.append(NightLine(shown_moment(at), light, word, [*_told(rows)]))
    return lines[::-1]


def _told(rows: Sequence[HistoryRow]) -> Sequence[str]:
    told: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row.model} @ {row.set}" if row.model else ""
        if row.state != "measured":
            said = [": ".join(part for part in (row.state, row.sentence) if part)]
        else:
            said = [
                f"{gate.gate.name} {gate.outcome.replace('_', ' ')}" for gate in row.gates if gate.outcome != "pass"
            ]
            said += row.all_changes
        for each in said:
            told.setdefault(each, []).append(name)
    n_measured = sum(row.model is not None for row in rows)
    return [
        # What all have alike stands once.
        said if names == [""] else f"{'all' if len(names) == n_measured > 1 else ', '.join(names)}: {said}"
        for said, names in told.items()
    ]
