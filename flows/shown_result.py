"""A run's result as a notebook shows it: what the figures say, the figures with their intervals, where the files are."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_specs.evaluation_files import read_differences, read_intervals
from data_specs.experiment_files import read_experiment
from data_specs.metrics import METRICS, find_metric, shown_p
from data_specs.run_result import RunResult
from flows.captions.shown import caption_rows
from tasks.tables.cells import cell, notes
from tasks.tables.kinds import KINDS
from tasks.tables.terminal import brief_columns

if TYPE_CHECKING:
    from jinja2 import Template

_MAIN = ("original", "edited")
_PAGE = """\
<div><p><b>{{ name }}</b></p>
{% if verdict %}<ul>{% for sentence in verdict %}<li>{{ sentence }}</li>{% endfor %}</ul>{% endif %}
{% for table in tables %}
<table>
<caption>{{ table.caption }}</caption>
<thead><tr>{% for head in table.heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for text in row %}<td>{{ text }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% endfor %}
{% for note in notes %}<p><small>{{ note }}</small></p>{% endfor %}
<p>{{ computed }} artifacts computed, {{ reused }} reused{% if report %}; report: <code>{{ report }}</code>{% endif %}</p></div>
"""


class ShownResult(RunResult):
    """A run's result that shows itself as tables in a notebook."""

    def _repr_html_(self) -> str:
        from flows.verdicts import verdict_of, warnings_of

        tables, told = [], [f"warning: {sentence}" for sentence in warnings_of(self)]
        tables += measured_rows(self)
        for kind in KINDS:
            if kind in self.artifacts:
                tables.append(_experiment(self, kind))
                told += notes(read_experiment(Path(self.artifacts[kind].path), kind))
        report = self.artifacts.get("report")
        return _page().render(
            name=self.name,
            verdict=verdict_of(self),
            tables=tables,
            notes=told,
            computed=self.computed,
            reused=self.reused,
            report=str(Path(report.path) / "report.html") if report else "",
        )


def measured_rows(result: RunResult) -> list[dict[str, Any]]:
    """The tables of a run's figures: of its evaluations, and of its captions."""
    found = [metrics_rows(result)] if any(name.startswith("evaluation.") for name in result.artifacts) else []
    captions = caption_rows(result)
    return found if captions is None else [*found, captions]


@cache
def _page() -> "Template":
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)


def metrics_rows(result: RunResult) -> dict[str, Any]:
    """A row a metric, with differences of the edited model where a run compared it: `caption`, `heads` and `rows`."""
    from flows.verdicts import chance_of

    shown = {name: result.metrics[name] for name in _MAIN if name in result.metrics} or dict(result.metrics)
    places = {name: result.artifacts.get(f"evaluation.{name}") for name in shown}
    intervals = {name: read_intervals(Path(place.path)) if place else {} for name, place in places.items()}
    compared = result.artifacts.get("differences.edited")
    differences = read_differences(Path(compared.path)) if compared else {}
    chance = chance_of(result.artifacts)
    rows = []
    for name, metric in METRICS.items():
        if not any(name in values for values in shown.values()):
            continue
        cells = [_figure(name, values, intervals[model]) for model, values in shown.items()]
        if differences:
            found = differences[name]
            low, high = metric.shown(found.low, sign="+"), metric.shown(found.high, sign="+")
            p = "" if found.p is None else shown_p(found.p)
            cells += [f"{metric.shown(found.difference, more=1, sign='+')} [{low}, {high}]", p]
        rows.append([name, *cells, metric.shown(chance[name]) if name in chance else "", metric.meaning])
    heads = ["metric", *shown, *(("edited − original", "p") if differences else ()), "chance", "counts"]
    n_pairs = next((int(values["n_pairs"]) for values in shown.values() if "n_pairs" in values), 0)
    return {"caption": f"{n_pairs:,} evaluation pairs; brackets: 95 % intervals", "heads": heads, "rows": rows}


def _figure(name: str, values: dict[str, float], intervals: dict[str, tuple[float, float]]) -> str:
    if name not in values:
        return ""
    metric = find_metric(name)
    bounds = [metric.shown(bound) for bound in intervals.get(name, ())]
    return metric.shown(values[name], more=1) + (f" [{', '.join(bounds)}]" if bounds else "")


def _experiment(result: RunResult, kind: Any) -> dict[str, Any]:
    """A row a model or point in the main columns."""
    experiment = read_experiment(Path(result.artifacts[kind].path), kind)
    columns = brief_columns(experiment)
    rows = []
    for position, row in enumerate(experiment.rows):
        cells = [cell(experiment, position, name) for name in columns]
        star = " ★" if position and position - 1 == experiment.chosen else ""
        rows.append(
            [f"{row.name}{star}", *(" ".join(filter(None, (f"{c.figure}{c.mark}", c.interval))) for c in cells)]
        )
    title = KINDS[kind].title.format(encoders=" and ".join(experiment.encoders))
    caption = f"{experiment.name}: {title}, {experiment.n_pairs:,} pairs, percent"
    return {"caption": caption, "heads": ["", *columns], "rows": rows}
