"""The part of a model card that holds figures."""

from data_specs.metrics import METRICS, Metric, ordered_metrics
from tasks.exporting.measurements import DataVersion, Figures, Measurement
from tasks.tables.cells import measured_in
from tasks.tables.escaping import Plain, markdown_table


def measured_lines(measurements: list[Measurement]) -> list[str]:
    """A table for each evaluation, with the data that it is of; a sentence where there is none."""
    if not measurements:
        return ["The store that it was exported from holds no evaluation of this model. Measure it before you use it."]
    measured = [name for name in METRICS if any(name in item.edited.metrics for item in measurements)]
    units = measured_in(measured)
    told = "In percent, higher is better; brackets hold 95 % confidence intervals where they were made."
    lines = [f"{told} {units}" if units else told]
    for measurement in measurements:
        edited, original = measurement.edited, measurement.original
        n_pairs = edited.metrics.get("n_pairs")
        lines += ["", f"On {int(n_pairs)} pairs:" if n_pairs is not None else "On labelled images:", ""]
        rows = [
            (
                name,
                _difference(measurement, name),
                _figure(original, name),
                _figure(edited, name),
                _metric(name).shown(edited.chance[name]) if name in edited.chance else "",
            )
            for name in ordered_metrics(edited.metrics)
        ]
        lines += markdown_table(["metric", "difference", "original", "edited", "chance"], rows)
        versions = f"{edited.version[:12]}" + (f" (original: {original.version[:12]})" if original else "")
        lines += ["", f"Data of this evaluation, {versions}:", "", *data_table(measurement.data)]
    return lines


def _figure(figures: Figures | None, name: str) -> str:
    if figures is None or name not in figures.metrics:
        return "not measured"
    shown = _metric(name).shown
    bounds = [shown(bound) for bound in figures.intervals.get(name, ())]
    return Plain(shown(figures.metrics[name]) + (f" ({bounds[0]} to {bounds[1]})" if bounds else ""))


def _difference(measurement: Measurement, name: str) -> str:
    original, edited = measurement.original, measurement.edited
    if original is None or name not in original.metrics:
        return "not measured"
    shown, found = _metric(name).shown, measurement.differences.get(name)
    bounds = f" ({shown(found.low, sign='+')} to {shown(found.high, sign='+')})" if found else ""
    return Plain(shown(edited.metrics[name] - original.metrics[name], sign="+") + bounds)


def _metric(name: str) -> Metric:
    # An evaluation may be of another release, which has further metrics.
    return METRICS.get(name, Metric(name, "pair", name, ""))


def data_table(data: list[DataVersion]) -> list[str]:
    """The shards that something was made on, as rows of Markdown."""
    return markdown_table(["used for", "shard", "SHA-256"], [(item.used_for, item.name, item.sha256) for item in data])
